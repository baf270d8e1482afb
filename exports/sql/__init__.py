"""The published star, loaded into other databases: PostgreSQL, MySQL and MariaDB, SQL Server, SQLite."""
