//! SELECT, INSERT, UPDATE, DELETE, MERGE and their clauses.

use crate::visit::table::rows;

rows! {
    RawStmt {
        stmt: walk,
        stmt_location: location,
        stmt_len: location,
    }
    SelectStmt {
        distinct_clause: walk,
        into_clause: walk,
        target_list: walk,
        from_clause: walk,
        where_clause: walk,
        group_clause: walk,
        group_distinct: scalar,
        having_clause: walk,
        window_clause: walk,
        values_lists: walk,
        sort_clause: walk,
        limit_offset: walk,
        limit_count: walk,
        limit_option: choice(LimitOption),
        locking_clause: walk,
        with_clause: walk,
        op: choice(SetOperation),
        all: scalar,
        larg: walk,
        rarg: walk,
    }
    InsertStmt {
        relation: walk,
        cols: walk,
        select_stmt: walk,
        on_conflict_clause: walk,
        returning_clause: walk,
        with_clause: walk,
        override_: choice(OverridingKind),
    }
    UpdateStmt {
        relation: walk,
        target_list: walk,
        where_clause: walk,
        from_clause: walk,
        returning_clause: walk,
        with_clause: walk,
    }
    DeleteStmt {
        relation: walk,
        using_clause: walk,
        where_clause: walk,
        returning_clause: walk,
        with_clause: walk,
    }
    MergeStmt {
        relation: walk,
        source_relation: walk,
        join_condition: walk,
        merge_when_clauses: walk,
        returning_clause: walk,
        with_clause: walk,
    }
    ReturnStmt {
        returnval: walk,
    }
    ResTarget {
        name: text,
        indirection: walk,
        val: walk,
        location: location,
    }
    SortBy {
        node: walk,
        sortby_dir: choice(SortByDir),
        sortby_nulls: choice(SortByNulls),
        use_op: walk,
        location: location,
    }
    GroupingSet {
        kind: choice(GroupingSetKind),
        content: walk,
        location: location,
    }
    LockingClause {
        locked_rels: walk,
        strength: choice(LockClauseStrength),
        wait_policy: choice(LockWaitPolicy),
    }
    IntoClause {
        rel: walk,
        col_names: walk,
        access_method: text,
        options: walk,
        on_commit: choice(OnCommitAction),
        table_space_name: text,
        view_query: refuse,
        skip_data: scalar,
    }
    JoinExpr {
        jointype: choice(JoinType),
        is_natural: scalar,
        larg: walk,
        rarg: walk,
        using_clause: walk,
        join_using_alias: walk,
        quals: walk,
        alias: walk,
        rtindex: refuse_scalar,
    }
    RangeSubselect {
        lateral: scalar,
        subquery: walk,
        alias: walk,
    }
    RangeFunction {
        lateral: scalar,
        ordinality: scalar,
        is_rowsfrom: scalar,
        functions: walk,
        alias: walk,
        coldeflist: walk,
    }
    RangeTableFunc {
        lateral: scalar,
        docexpr: walk,
        rowexpr: walk,
        namespaces: walk,
        columns: walk,
        alias: walk,
        location: location,
    }
    RangeTableFuncCol {
        colname: text,
        type_name: walk,
        for_ordinality: scalar,
        is_not_null: scalar,
        colexpr: walk,
        coldefexpr: walk,
        location: location,
    }
    RangeTableSample {
        relation: walk,
        method: walk,
        args: walk,
        repeatable: walk,
        location: location,
    }
    WithClause {
        ctes: walk,
        recursive: scalar,
        location: location,
    }
    CommonTableExpr {
        ctename: text,
        aliascolnames: walk,
        ctematerialized: choice(CTEMaterialize),
        ctequery: walk,
        search_clause: walk,
        cycle_clause: walk,
        location: location,
        cterecursive: refuse_scalar,
        cterefcount: refuse_scalar,
        ctecolnames: refuse,
    }
    CTESearchClause {
        search_col_list: walk,
        search_breadth_first: scalar,
        search_seq_column: text,
        location: location,
    }
    CTECycleClause {
        cycle_col_list: walk,
        cycle_mark_column: text,
        cycle_mark_value: walk,
        cycle_mark_default: walk,
        cycle_path_column: text,
        location: location,
        cycle_mark_type: refuse_scalar,
        cycle_mark_typmod: refuse_scalar,
        cycle_mark_collation: refuse_scalar,
        cycle_mark_neop: refuse_scalar,
    }
    InferClause {
        index_elems: walk,
        where_clause: walk,
        conname: text,
        location: location,
    }
    IndexElem {
        name: text,
        expr: walk,
        indexcolname: refuse,
        collation: walk,
        opclass: walk,
        opclassopts: walk,
        ordering: choice(SortByDir),
        nulls_ordering: choice(SortByNulls),
    }
    OnConflictClause {
        action: choice(OnConflictAction),
        infer: walk,
        target_list: walk,
        where_clause: walk,
        location: location,
    }
    MergeWhenClause {
        match_kind: choice(MergeMatchKind),
        command_type: choice(CmdType),
        override_: choice(OverridingKind),
        condition: walk,
        target_list: walk,
        values: walk,
    }
    ReturningOption {
        option: choice(ReturningOptionKind),
        value: text,
        location: location,
    }
    ReturningClause {
        options: walk,
        exprs: walk,
    }
}
