CREATE TABLE berths (
    id          INTEGER PRIMARY KEY,
    name        VARCHAR(40) NOT NULL,
    length_m    NUMERIC(5, 1) CHECK (length_m > 0),
    occupied_by INTEGER REFERENCES ships (id)
);

INSERT INTO berths (id, name, length_m) VALUES (1, 'North Pier', 120.0), (2, 'Old Harbour', 60.5);

SELECT b.name, s.name AS ship, s.arrived_at
FROM berths AS b
LEFT JOIN ships AS s ON s.id = b.occupied_by
WHERE b.length_m >= 50
ORDER BY s.arrived_at DESC;
