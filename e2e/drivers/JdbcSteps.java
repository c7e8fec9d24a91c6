// pgjdbc through the sidecar; one line a step. Environment: PORT, CA (empty: no TLS), BASE.

import java.io.StringWriter;
import java.sql.*;
import java.util.*;
import org.postgresql.PGConnection;

public class JdbcSteps {
    static final int BASE = Integer.parseInt(System.getenv("BASE"));
    static final String CA = System.getenv("CA");
    static Connection db;

    interface Work {
        Object run() throws Exception;
    }

    static void step(String name, Work work) throws Exception {
        try {
            System.out.println(name + ": " + work.run());
        } catch (BatchUpdateException error) {
            System.out.println(name + ": batch error " + error.getSQLState());
        } catch (SQLException error) {
            System.out.println(name + ": error " + error.getSQLState());
        }
    }

    static String rows(ResultSet set) throws SQLException {
        List<String> all = new ArrayList<>();
        while (set.next()) {
            List<String> row = new ArrayList<>();
            for (int at = 1; at <= set.getMetaData().getColumnCount(); at++) {
                Object value = set.getObject(at);
                row.add(value == null ? "NULL" : value instanceof Array array
                    ? "{" + String.join(",", Arrays.stream((Object[]) array.getArray()).map(String::valueOf).toList()) + "}"
                    : value.toString());
            }
            all.add(String.join("|", row));
        }
        return String.join(" ; ", all);
    }

    static String query(String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = db.prepareStatement(sql)) {
            for (int at = 0; at < values.length; at++) statement.setObject(at + 1, values[at]);
            return rows(statement.executeQuery());
        }
    }

    static Object execute(String sql) throws SQLException {
        try (Statement statement = db.createStatement()) {
            return statement.execute(sql) ? rows(statement.getResultSet()) : statement.getUpdateCount();
        }
    }

    static Object many(String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = db.prepareStatement(sql)) {
            for (Object value : values) {
                statement.setObject(1, value);
                statement.addBatch();
            }
            return Arrays.toString(statement.executeBatch());
        }
    }

    static String copy(String sql) throws Exception {
        StringWriter out = new StringWriter();
        db.unwrap(PGConnection.class).getCopyAPI().copyOut(sql, out);
        return String.join(" ; ", out.toString().split("\n", -1));
    }

    static Object beginAndFail(String bad, int number) throws SQLException {
        db.setAutoCommit(false);
        query("INSERT INTO log VALUES (?, 'x') RETURNING id", BASE + number);
        return execute(bad);
    }

    // pgjdbc answers a COMMIT that rolled back with an exception of its own.
    static String commit() throws SQLException {
        db.commit();
        return "COMMIT";
    }

    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        properties.put("user", "agent");
        properties.put("password", "agent-secret");
        properties.put("sslmode", CA.isEmpty() ? "disable" : "verify-full");
        if (!CA.isEmpty()) properties.put("sslrootcert", CA);
        db = DriverManager.getConnection("jdbc:postgresql://127.0.0.1:" + System.getenv("PORT") + "/app", properties);

        String moods = "SELECT id, name, feels FROM customers ORDER BY id";
        String masked = "SELECT email, ssn, pin FROM customers ORDER BY id";
        step("query", () -> query(moods));
        step("masked", () -> query(masked));
        // From the fifth on it is prepared by name, and what pgjdbc can read as binary (int4) comes as binary.
        step("prepared masked", () -> {
            Set<String> answers = new LinkedHashSet<>();
            try (PreparedStatement statement = db.prepareStatement(masked)) {
                for (int n = 0; n < 12; n++) answers.add(rows(statement.executeQuery()));
                return answers.size() + " " + statement.unwrap(org.postgresql.PGStatement.class).isUseServerPrepare() + " " + answers.iterator().next();
            }
        });
        step("prepared", () -> {
            List<String> found = new ArrayList<>();
            try (PreparedStatement statement = db.prepareStatement("SELECT note AS n" + BASE + " FROM orders WHERE id = ?")) {
                for (int number = 1; number <= 12; number++) {
                    statement.setInt(1, number);
                    found.add(rows(statement.executeQuery()));
                }
            }
            return String.join(" ; ", found);
        });
        step("fetched in parts", () -> {
            db.setAutoCommit(false);
            try (Statement statement = db.createStatement()) {
                statement.setFetchSize(1);
                return rows(statement.executeQuery("SELECT ssn FROM customers ORDER BY id"));
            } finally {
                db.commit();
                db.setAutoCommit(true);
            }
        });
        step("batch", () -> many("INSERT INTO log VALUES (?, 'x')", BASE + 10, BASE + 11, BASE + 12, BASE + 13, BASE + 14));
        step("batch refused", () -> many("DELETE FROM orders WHERE id = ?", 1, 2, 3));
        step("refused inside a batch", () -> {
            try (Statement statement = db.createStatement()) {
                statement.addBatch("INSERT INTO log VALUES (" + (BASE + 20) + ", 'x')");
                statement.addBatch("DELETE FROM customers WHERE id = 1");
                statement.addBatch("INSERT INTO log VALUES (" + (BASE + 21) + ", 'x')");
                return Arrays.toString(statement.executeBatch());
            }
        });
        step("copy", () -> copy("COPY (SELECT id, note FROM orders WHERE id <= 3 ORDER BY id) TO STDOUT (FORMAT csv)"));
        step("copy masked", () -> copy("COPY (SELECT id, ssn, pin FROM customers ORDER BY id) TO STDOUT (FORMAT csv)"));
        step("cancel", () -> {
            try (Statement statement = db.createStatement()) {
                statement.setQueryTimeout(1);
                return rows(statement.executeQuery(
                    "SELECT count(*) FROM generate_series(1, 100000) a CROSS JOIN generate_series(1, 100000) b"));
            }
        });
        step("after it", () -> query("SELECT 1"));
        step("error in a transaction", () -> beginAndFail("SELECT 1/0", 30));
        step("aborted", () -> query("SELECT 1"));
        step("rolled back", () -> { db.rollback(); db.setAutoCommit(true); return "ROLLBACK"; });
        step("refused", () -> execute("DROP TABLE orders"));
        step("refused prepared", () -> query("DELETE FROM orders WHERE id = ? RETURNING id", 1));
        step("after it", () -> query("SELECT 1"));
        step("refused in a transaction", () -> beginAndFail("DELETE FROM customers WHERE id = 1", 31));
        step("aborted", () -> query("SELECT 1"));
        step("commit rolls back", () -> commit());
        step("after it", () -> { db.rollback(); db.setAutoCommit(true); return query("SELECT 1"); });
        step("masked in a predicate", () -> query("SELECT id FROM customers WHERE ssn = ?", "CANARY-ssn-1"));
        step("tables", () -> {
            List<String> names = new ArrayList<>();
            try (ResultSet set = db.getMetaData().getColumns(null, "public", "customers", null)) {
                while (set.next()) names.add(set.getString("COLUMN_NAME"));
            }
            return String.join(",", names);
        });
        step("kept", () -> query("SELECT id - ?::int FROM log WHERE id >= ? AND id < ? ORDER BY id", BASE, BASE, BASE + 1000));
        db.close();
    }
}
