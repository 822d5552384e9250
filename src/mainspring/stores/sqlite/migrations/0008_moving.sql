-- Which copy from another store fills this one, or broke off while it did. Empty, but for that time.

CREATE TABLE loading (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    copy  TEXT NOT NULL
) STRICT;
