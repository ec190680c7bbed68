/* qwen_pg--@version@.sql - the SQL surface of version @version@; docs/sql.md is its manual. */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION qwen_pg" to load this file. \quit

@include types.sql

@include rights.sql

-- ---- generate ------------------------------------------------------------------------------------------------------
@functions generate

-- ---- tasks ----------------------------------------------------------------------------------------------------------
@functions tasks

@functions aggregates

-- ---- embed ----------------------------------------------------------------------------------------------------------
@functions embed

-- ---- tokens ---------------------------------------------------------------------------------------------------------
@functions tokens

@functions planner

@support

-- ---- triggers -------------------------------------------------------------------------------------------------------
@functions triggers

@functions guard

-- ---- jobs -----------------------------------------------------------------------------------------------------------
@include jobs.sql

-- ---- models ---------------------------------------------------------------------------------------------------------
@include models.sql

-- ---- watching -------------------------------------------------------------------------------------------------------
@include watching.sql

-- ---- limits per role --------------------------------------------------------------------------------------------------
@include limits.sql

-- ---- what columns mean ------------------------------------------------------------------------------------------------
@columns

-- ---- the extension's own tables ---------------------------------------------------------------------------------------
@include guards.sql

-- ---- privileges -----------------------------------------------------------------------------------------------------
@functions privileges

@include settle_privileges.sql
-- with a type: a literal without one would prefer a function of another's with an argument of type text
SELECT qwen_settle_privileges('{}'::pg_catalog.oid[]);
DROP FUNCTION qwen_settle_privileges(oid[]);
