"""A team's storage on loopback: PostgreSQL from the distribution's packages, and a server that speaks S3."""

import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.ports import free_port

ROLE = "kyara"
KEY = "loopback"
REGION = "us-east-1"
# Where Debian, Fedora and Homebrew put the server's programs, which are not on the PATH everywhere.
PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")


@dataclass(frozen=True)
class Postgres:
    """A running server; everybody on loopback may enter as ROLE."""

    port: int

    def url(self, database: str, driver: str = "postgresql+psycopg2") -> str:
        """Address of a database, which `create` has made.

        Args:
            driver: as SQLAlchemy names it; postgresql+asyncpg for Prefect, postgresql for psycopg2 alone.
        """
        return f"{driver}://{ROLE}@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        """A new, empty database; its address for MLflow. SQLAlchemy 2.1 takes psycopg 3 where no driver is named."""
        import psycopg2

        connection = psycopg2.connect(self.url("postgres", "postgresql"))
        try:
            connection.autocommit = True
            connection.cursor().execute(f'CREATE DATABASE "{database}"')
        finally:
            connection.close()
        return self.url(database)


@dataclass(frozen=True)
class Bucket:
    """A bucket of a running server: its address, and what boto3 and MLflow read from the environment to reach it."""

    name: str
    endpoint: str

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables for the processes that use it."""
        return {
            "MLFLOW_S3_ENDPOINT_URL": self.endpoint,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """boto3's client of it."""
        import boto3

        access = {"aws_access_key_id": KEY, "aws_secret_access_key": KEY, "region_name": REGION}
        return boto3.client("s3", endpoint_url=self.endpoint, **access)

    def names(self) -> list[str]:
        """Names of all that lies in it, sorted."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return sorted(each["Key"] for page in pages for each in page.get("Contents", ()))


def postgres_programs() -> Path | None:
    """The folder of PostgreSQL's programs; None where it is not installed."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve().parent] if on_path else []
    for place in PLACES:
        root = Path(place).anchor
        found += sorted(Path(root).glob(str(Path(place).relative_to(root))), reverse=True)
    return next((folder for folder in found if (folder / "postgres").is_file()), None)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of its own while the block runs; the test is skipped where it cannot be had."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="kyara-postgres-"))
    try:
        user = _unprivileged(folder)
        port, data = free_port(), folder / "data"
        initdb = [str(programs / "initdb"), "-D", str(data), "-U", ROLE, "-A", "trust", "-E", "UTF8", "--locale=C"]
        subprocess.run([*initdb, "--no-sync"], check=True, capture_output=True, cwd=folder, **user)
        options = [
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "-k",
            str(folder),
            "-c",
            "fsync=off",
            "-c",
            "max_connections=200",
        ]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [str(programs / "postgres"), "-D", str(data), *options], stdout=log, stderr=log, cwd=folder, **user
            )
        try:
            _wait(Postgres(port), server, folder / "log")
            yield Postgres(port)
        finally:
            server.send_signal(signal.SIGINT)  # "fast": SIGTERM would wait for whoever is still connected
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged(folder: Path) -> dict[str, Any]:
    """Who runs the server: PostgreSQL refuses root. The folder is given to that user."""
    if os.geteuid() != 0:
        return {}
    import pwd

    names = {each.pw_name: each for each in pwd.getpwall()}
    who = names.get("postgres") or names.get("nobody")
    if who is None:
        pytest.skip("PostgreSQL refuses root, and there is no user `postgres` or `nobody`")
    os.chown(folder, who.pw_uid, who.pw_gid)
    return {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}


def _wait(server: Postgres, process: "subprocess.Popen[bytes]", log: Path) -> None:
    import psycopg2

    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            psycopg2.connect(server.url("postgres", "postgresql")).close()
            return
        except psycopg2.OperationalError:
            time.sleep(0.1)
    raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text(encoding='utf-8', errors='replace')}")


@contextmanager
def s3(bucket: str = "kyara") -> Iterator[Bucket]:
    """A server that speaks S3 (moto's), with one bucket, while the block runs."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        made = Bucket(bucket, f"http://{host}:{port}")
        made.client().create_bucket(Bucket=bucket)
        yield made
    finally:
        server.stop()
