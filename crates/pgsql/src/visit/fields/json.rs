//! SQL/JSON expressions and JSON_TABLE.

use crate::visit::table::rows;

rows! {
    JsonFormat {
        format_type: choice(JsonFormatType),
        encoding: choice(JsonEncoding),
        location: location,
    }
    JsonReturning {
        format: walk,
        typid: refuse_scalar,
        typmod: refuse_scalar,
    }
    JsonValueExpr {
        raw_expr: walk,
        formatted_expr: refuse,
        format: walk,
    }
    JsonIsPredicate {
        expr: walk,
        format: walk,
        item_type: choice(JsonValueType),
        unique_keys: scalar,
        location: location,
    }
    JsonBehavior {
        btype: choice(JsonBehaviorType),
        expr: walk,
        coerce: refuse_scalar,
        location: location,
    }
    JsonOutput {
        type_name: walk,
        returning: walk,
    }
    JsonArgument {
        val: walk,
        name: text,
    }
    JsonFuncExpr {
        op: choice(JsonExprOp),
        column_name: refuse,
        context_item: walk,
        pathspec: walk,
        passing: walk,
        output: walk,
        on_empty: walk,
        on_error: walk,
        wrapper: choice(JsonWrapper),
        quotes: choice(JsonQuotes),
        location: location,
    }
    JsonTablePathSpec {
        string: walk,
        name: text,
        name_location: location,
        location: location,
    }
    JsonTable {
        context_item: walk,
        pathspec: walk,
        passing: walk,
        columns: walk,
        on_error: walk,
        alias: walk,
        lateral: scalar,
        location: location,
    }
    JsonTableColumn {
        coltype: choice(JsonTableColumnType),
        name: text,
        type_name: walk,
        pathspec: walk,
        format: walk,
        wrapper: choice(JsonWrapper),
        quotes: choice(JsonQuotes),
        columns: walk,
        on_empty: walk,
        on_error: walk,
        location: location,
    }
    JsonKeyValue {
        key: walk,
        value: walk,
    }
    JsonParseExpr {
        expr: walk,
        output: refuse,
        unique_keys: scalar,
        location: location,
    }
    JsonScalarExpr {
        expr: walk,
        output: refuse,
        location: location,
    }
    JsonSerializeExpr {
        expr: walk,
        output: walk,
        location: location,
    }
    JsonObjectConstructor {
        exprs: walk,
        output: walk,
        absent_on_null: scalar,
        unique: scalar,
        location: location,
    }
    JsonArrayConstructor {
        exprs: walk,
        output: walk,
        absent_on_null: scalar,
        location: location,
    }
    JsonArrayQueryConstructor {
        query: walk,
        output: walk,
        format: walk,
        absent_on_null: scalar,
        location: location,
    }
    JsonAggConstructor {
        output: walk,
        agg_filter: walk,
        agg_order: walk,
        over: walk,
        location: location,
    }
    JsonObjectAgg {
        constructor: walk,
        arg: walk,
        absent_on_null: scalar,
        unique: scalar,
    }
    JsonArrayAgg {
        constructor: walk,
        arg: walk,
        absent_on_null: scalar,
    }
}
