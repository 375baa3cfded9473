"""The servers that other tests stand on."""

import psycopg2
import pytest

from tests.storage import postgres, s3


def test_postgres_takes_tables_and_is_gone_afterwards() -> None:
    with postgres() as server:
        connection = psycopg2.connect(server.create("one").replace("+psycopg2", ""))
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE names (name text); INSERT INTO names VALUES ('キャラ'); SELECT name FROM names")
        assert cursor.fetchall() == [("キャラ",)]
    connection.close()  # it did not keep the server alive
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(server.url("one", "postgresql"))


def test_a_bucket_keeps_what_is_put() -> None:
    with s3("team") as bucket:
        bucket.client().put_object(Bucket="team", Key="a/b", Body=b"content")
        assert bucket.names() == ["a/b"]
        assert bucket.client().get_object(Bucket="team", Key="a/b")["Body"].read() == b"content"
