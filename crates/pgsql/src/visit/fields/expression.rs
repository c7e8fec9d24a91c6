//! Expressions other than SQL/JSON.

use crate::visit::table::rows;

rows! {
    ColumnRef {
        fields: walk,
        location: location,
    }
    ParamRef {
        number: scalar,
        location: location,
    }
    A_Const {
        val: constant,
        isnull: scalar,
        location: location,
    }
    A_Expr {
        kind: choice(AExprKind),
        name: walk,
        lexpr: walk,
        rexpr: walk,
        rexpr_list_start: location,
        rexpr_list_end: location,
        location: location,
    }
    A_Star {}
    A_Indices {
        is_slice: scalar,
        lidx: walk,
        uidx: walk,
    }
    A_Indirection {
        arg: walk,
        indirection: walk,
    }
    A_ArrayExpr {
        elements: walk,
        list_start: location,
        list_end: location,
        location: location,
    }
    TypeCast {
        arg: walk,
        type_name: walk,
        location: location,
    }
    CollateClause {
        arg: walk,
        collname: walk,
        location: location,
    }
    FuncCall {
        funcname: walk,
        args: walk,
        agg_order: walk,
        agg_filter: walk,
        over: walk,
        agg_within_group: scalar,
        agg_star: scalar,
        agg_distinct: scalar,
        func_variadic: scalar,
        funcformat: choice(CoercionForm),
        location: location,
    }
    NamedArgExpr {
        arg: walk,
        name: text,
        argnumber: scalar,
        location: location,
    }
    WindowDef {
        name: text,
        refname: text,
        partition_clause: walk,
        order_clause: walk,
        frame_options: scalar,
        start_offset: walk,
        end_offset: walk,
        location: location,
    }
    BoolExpr {
        boolop: choice(BoolExprType),
        args: walk,
        location: location,
    }
    SubLink {
        sub_link_type: choice(SubLinkType),
        sub_link_id: refuse_scalar,
        testexpr: walk,
        oper_name: walk,
        subselect: walk,
        location: location,
    }
    CaseExpr {
        casetype: refuse_scalar,
        casecollid: refuse_scalar,
        arg: walk,
        args: walk,
        defresult: walk,
        location: location,
    }
    CaseWhen {
        expr: walk,
        result: walk,
        location: location,
    }
    RowExpr {
        args: walk,
        row_typeid: refuse_scalar,
        row_format: choice(CoercionForm),
        colnames: refuse,
        location: location,
    }
    CoalesceExpr {
        coalescetype: refuse_scalar,
        coalescecollid: refuse_scalar,
        args: walk,
        location: location,
    }
    MinMaxExpr {
        minmaxtype: refuse_scalar,
        minmaxcollid: refuse_scalar,
        inputcollid: refuse_scalar,
        op: choice(MinMaxOp),
        args: walk,
        location: location,
    }
    SQLValueFunction {
        op: choice(SQLValueFunctionOp),
        type_: refuse_scalar,
        typmod: scalar,
        location: location,
    }
    XmlExpr {
        op: choice(XmlExprOp),
        name: text,
        named_args: walk,
        arg_names: refuse,
        args: walk,
        xmloption: choice(XmlOptionType),
        indent: refuse_scalar,
        type_: refuse_scalar,
        typmod: refuse_scalar,
        location: location,
    }
    XmlSerialize {
        xmloption: choice(XmlOptionType),
        expr: walk,
        type_name: walk,
        indent: scalar,
        location: location,
    }
    NullTest {
        arg: walk,
        nulltesttype: choice(NullTestType),
        argisrow: refuse_scalar,
        location: location,
    }
    BooleanTest {
        arg: walk,
        booltesttype: choice(BoolTestType),
        location: location,
    }
    GroupingFunc {
        args: walk,
        refs: refuse,
        cols: refuse,
        agglevelsup: refuse_scalar,
        location: location,
    }
    MergeSupportFunc {
        msftype: scalar,
        msfcollid: refuse_scalar,
        location: location,
    }
    SetToDefault {
        type_id: refuse_scalar,
        type_mod: refuse_scalar,
        collation: refuse_scalar,
        location: location,
    }
    CurrentOfExpr {
        cvarno: refuse_scalar,
        cursor_name: text,
        cursor_param: refuse_scalar,
    }
    MultiAssignRef {
        source: walk,
        colno: scalar,
        ncolumns: scalar,
    }
}
