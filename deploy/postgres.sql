-- Beside `prefect`, which the image makes itself. Run once, with an empty volume.
CREATE DATABASE mlflow OWNER kyara;
\connect prefect
CREATE EXTENSION IF NOT EXISTS pg_trgm;
