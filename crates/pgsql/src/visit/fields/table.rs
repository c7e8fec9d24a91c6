//! Tables, views, indexes and what belongs to them.

use crate::visit::table::rows;

rows! {
    CreateStmt {
        relation: walk,
        table_elts: walk,
        inh_relations: walk,
        partbound: walk,
        partspec: walk,
        of_typename: walk,
        constraints: refuse,
        nnconstraints: refuse,
        options: walk,
        oncommit: choice(OnCommitAction),
        tablespacename: text,
        access_method: text,
        if_not_exists: scalar,
    }
    CreateTableAsStmt {
        query: walk,
        into: walk,
        objtype: choice(ObjectType),
        is_select_into: refuse_scalar,
        if_not_exists: scalar,
    }
    ViewStmt {
        view: walk,
        aliases: walk,
        query: walk,
        replace: scalar,
        options: walk,
        with_check_option: choice(ViewCheckOption),
    }
    ColumnDef {
        colname: text,
        type_name: walk,
        compression: text,
        inhcount: refuse_scalar,
        is_local: scalar,
        is_not_null: refuse_scalar,
        is_from_type: refuse_scalar,
        storage: refuse_scalar,
        storage_name: text,
        raw_default: walk,
        cooked_default: refuse,
        identity: refuse_scalar,
        identity_sequence: refuse,
        generated: refuse_scalar,
        coll_clause: walk,
        coll_oid: refuse_scalar,
        constraints: walk,
        fdwoptions: walk,
        location: location,
    }
    TableLikeClause {
        relation: walk,
        options: scalar,
        relation_oid: refuse_scalar,
    }
    Constraint {
        contype: choice(ConstrType),
        conname: text,
        deferrable: scalar,
        initdeferred: scalar,
        is_enforced: scalar,
        skip_validation: scalar,
        initially_valid: scalar,
        is_no_inherit: scalar,
        raw_expr: walk,
        cooked_expr: refuse,
        generated_when: scalar,
        generated_kind: scalar,
        nulls_not_distinct: scalar,
        keys: walk,
        without_overlaps: scalar,
        including: walk,
        exclusions: walk,
        options: walk,
        indexname: text,
        indexspace: text,
        reset_default_tblspc: refuse_scalar,
        access_method: text,
        where_clause: walk,
        pktable: walk,
        fk_attrs: walk,
        pk_attrs: walk,
        fk_with_period: scalar,
        pk_with_period: scalar,
        fk_matchtype: scalar,
        fk_upd_action: scalar,
        fk_del_action: scalar,
        fk_del_set_cols: walk,
        old_conpfeqop: refuse,
        old_pktable_oid: refuse_scalar,
        location: location,
    }
    PartitionElem {
        name: text,
        expr: walk,
        collation: walk,
        opclass: walk,
        location: location,
    }
    PartitionSpec {
        strategy: choice(PartitionStrategy),
        part_params: walk,
        location: location,
    }
    PartitionBoundSpec {
        strategy: scalar,
        is_default: scalar,
        modulus: scalar,
        remainder: scalar,
        listdatums: walk,
        lowerdatums: walk,
        upperdatums: walk,
        location: location,
    }
    PartitionCmd {
        name: walk,
        bound: walk,
        concurrent: scalar,
    }
    AlterTableStmt {
        relation: walk,
        cmds: walk,
        objtype: choice(ObjectType),
        missing_ok: scalar,
    }
    AlterTableCmd {
        subtype: choice(AlterTableType),
        name: text,
        num: scalar,
        newowner: walk,
        def: walk,
        behavior: choice(DropBehavior),
        missing_ok: scalar,
        recurse: refuse_scalar,
    }
    ATAlterConstraint {
        conname: text,
        alter_enforceability: scalar,
        is_enforced: scalar,
        alter_deferrability: scalar,
        deferrable: scalar,
        initdeferred: scalar,
        alter_inheritability: scalar,
        noinherit: scalar,
    }
    ReplicaIdentityStmt {
        identity_type: scalar,
        name: text,
    }
    AlterTableMoveAllStmt {
        orig_tablespacename: text,
        objtype: choice(ObjectType),
        roles: walk,
        new_tablespacename: text,
        nowait: scalar,
    }
    IndexStmt {
        idxname: text,
        relation: walk,
        access_method: text,
        table_space: text,
        index_params: walk,
        index_including_params: walk,
        options: walk,
        where_clause: walk,
        exclude_op_names: refuse,
        idxcomment: refuse,
        index_oid: refuse_scalar,
        old_number: refuse_scalar,
        old_create_subid: refuse_scalar,
        old_first_relfilelocator_subid: refuse_scalar,
        unique: scalar,
        nulls_not_distinct: scalar,
        primary: refuse_scalar,
        isconstraint: refuse_scalar,
        iswithoutoverlaps: refuse_scalar,
        deferrable: refuse_scalar,
        initdeferred: refuse_scalar,
        transformed: refuse_scalar,
        concurrent: scalar,
        if_not_exists: scalar,
        reset_default_tblspc: refuse_scalar,
    }
    CreateStatsStmt {
        defnames: walk,
        stat_types: walk,
        exprs: walk,
        relations: walk,
        stxcomment: refuse,
        transformed: refuse_scalar,
        if_not_exists: scalar,
    }
    StatsElem {
        name: text,
        expr: walk,
    }
    AlterStatsStmt {
        defnames: walk,
        stxstattarget: walk,
        missing_ok: scalar,
    }
    CreateSeqStmt {
        sequence: walk,
        options: walk,
        owner_id: refuse_scalar,
        for_identity: refuse_scalar,
        if_not_exists: scalar,
    }
    AlterSeqStmt {
        sequence: walk,
        options: walk,
        for_identity: refuse_scalar,
        missing_ok: scalar,
    }
    CreateTrigStmt {
        replace: scalar,
        isconstraint: scalar,
        trigname: text,
        relation: walk,
        funcname: walk,
        args: walk,
        row: scalar,
        timing: scalar,
        events: scalar,
        columns: walk,
        when_clause: walk,
        transition_rels: walk,
        deferrable: scalar,
        initdeferred: scalar,
        constrrel: walk,
    }
    TriggerTransition {
        name: text,
        is_new: scalar,
        is_table: scalar,
    }
    RuleStmt {
        relation: walk,
        rulename: text,
        where_clause: walk,
        event: choice(CmdType),
        instead: scalar,
        actions: walk,
        replace: scalar,
    }
    CreatePolicyStmt {
        policy_name: text,
        table: walk,
        cmd_name: text,
        permissive: scalar,
        roles: walk,
        qual: walk,
        with_check: walk,
    }
    AlterPolicyStmt {
        policy_name: text,
        table: walk,
        roles: walk,
        qual: walk,
        with_check: walk,
    }
}
