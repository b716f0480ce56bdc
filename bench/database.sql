-- The tables of the database scenarios. Both the rows' numbers and their values run from 1 to 10,000.
CREATE TABLE world (
    id integer PRIMARY KEY,
    randomnumber integer NOT NULL
);
INSERT INTO world SELECT id, 1 + floor(random() * 10000)::integer FROM generate_series(1, 10000) AS id;

-- Two must be escaped, and one is no ASCII.
CREATE TABLE fortune (
    id integer PRIMARY KEY,
    message text NOT NULL
);
INSERT INTO fortune VALUES
    (1, 'Whoever counts the bugs that are left has not counted himself.'),
    (2, 'The build was green before you looked.'),
    (3, 'You will soon read a log that you wish you had not kept.'),
    (4, 'A cache forgets only what you need: on Mondays, everything.'),
    (5, 'Great wealth awaits those who close their file descriptors.'),
    (6, 'Never trust a clock that agrees with you.'),
    (7, 'Two threads wait for you. Each is waiting for the other.'),
    (8, 'It''s fast on your machine & on no other.'),
    (9, 'An old friend will call, with interrupts disabled.'),
    (10, 'The shortest loop is the one that you did not write.'),
    (11, '<script>alert("This must never open a window.");</script>'),
    (12, 'ベンチマークは嘘をつかない');

VACUUM ANALYZE;
