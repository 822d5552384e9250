-- Which copy from another store fills this one, or broke off while it did. Empty, but for that time.

CREATE TABLE mainspring.loading (
    id    integer PRIMARY KEY CHECK (id = 1),
    copy  text NOT NULL
);
