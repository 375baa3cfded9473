"""Make the bucket of MLflow's artifacts where it is missing: the host of MLFLOW_ARTIFACTS_DESTINATION (s3://bucket/…)."""

import os
from urllib.parse import urlsplit


def main() -> None:
    """Raises whatever boto3 says, but for a bucket that is there."""
    import boto3
    from botocore.exceptions import ClientError

    bucket = urlsplit(os.environ["MLFLOW_ARTIFACTS_DESTINATION"]).hostname
    client = boto3.client("s3", endpoint_url=os.environ.get("MLFLOW_S3_ENDPOINT_URL"))
    try:
        client.head_bucket(Bucket=bucket)
    except ClientError:
        client.create_bucket(Bucket=bucket)
    print(f"bucket {bucket} is there")


if __name__ == "__main__":
    main()
