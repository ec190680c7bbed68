/* qwen_pg--0.1.0--0.2.0.sql - from version 0.1.0 to the catalogs that a fresh 0.2.0 has; users' views, jobs and data stay. */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION qwen_pg UPDATE TO '0.2.0'" to load this file. \quit
