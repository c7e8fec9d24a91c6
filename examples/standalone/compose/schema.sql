-- The database of the example, made once by the image's entry point with psql.
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, email text, ssn text);
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, status text NOT NULL, total numeric);
INSERT INTO customers VALUES (1, 'Ada', 'ada@example.com', '536-90-4399'), (2, 'Grace', 'grace@example.com', '219-09-9999');
INSERT INTO orders VALUES (4711, 1, 'open', 19.90), (4712, 2, 'shipped', 7.50), (4713, 2, 'open', 99.00);

-- The sidecar's role, of least rights: it is the second wall.
\set password `cat "$ROLE_PASSWORD_FILE"`
CREATE ROLE orders_agent LOGIN PASSWORD :'password';
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO orders_agent;
