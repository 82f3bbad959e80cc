-- Roles and databases for psql, which runs this before every start: a role that is missing is made, and each gets the
-- password that .env has now. \getenv keeps the passwords off the command line.
\set ON_ERROR_STOP on
\getenv airflow_password AIRFLOW_DB_PASSWORD
\getenv penstock_password LEDGER_DB_PASSWORD
\getenv registry_password REGISTRY_DB_PASSWORD

SELECT format('CREATE ROLE %I LOGIN', name)
  FROM unnest(ARRAY['airflow', 'penstock', 'registry']) AS name
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

ALTER ROLE airflow PASSWORD :'airflow_password';
ALTER ROLE penstock PASSWORD :'penstock_password';
ALTER ROLE registry PASSWORD :'registry_password';

SELECT format('CREATE DATABASE %I OWNER %I', name, name)
  FROM unnest(ARRAY['airflow', 'penstock', 'registry']) AS name
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name)
\gexec
