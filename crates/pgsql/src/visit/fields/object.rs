//! Schemas, functions, types, operators and other objects of a database.

use crate::visit::table::rows;

rows! {
    CreateSchemaStmt {
        schemaname: text,
        authrole: walk,
        schema_elts: walk,
        if_not_exists: scalar,
    }
    DropStmt {
        objects: walk,
        remove_type: choice(ObjectType),
        behavior: choice(DropBehavior),
        missing_ok: scalar,
        concurrent: scalar,
    }
    CommentStmt {
        objtype: choice(ObjectType),
        object: walk,
        comment: text,
    }
    SecLabelStmt {
        objtype: choice(ObjectType),
        object: walk,
        provider: text,
        label: text,
    }
    RenameStmt {
        rename_type: choice(ObjectType),
        relation_type: choice(ObjectType),
        relation: walk,
        object: walk,
        subname: text,
        newname: text,
        behavior: choice(DropBehavior),
        missing_ok: scalar,
    }
    AlterObjectDependsStmt {
        object_type: choice(ObjectType),
        relation: walk,
        object: walk,
        extname: walk,
        remove: scalar,
    }
    AlterObjectSchemaStmt {
        object_type: choice(ObjectType),
        relation: walk,
        object: walk,
        newschema: text,
        missing_ok: scalar,
    }
    AlterOwnerStmt {
        object_type: choice(ObjectType),
        relation: refuse,
        object: walk,
        newowner: walk,
    }
    DefineStmt {
        kind: choice(ObjectType),
        oldstyle: scalar,
        defnames: walk,
        args: walk,
        definition: walk,
        if_not_exists: scalar,
        replace: scalar,
    }
    CreateFunctionStmt {
        is_procedure: scalar,
        replace: scalar,
        funcname: walk,
        parameters: walk,
        return_type: walk,
        options: walk,
        sql_body: walk,
    }
    AlterFunctionStmt {
        objtype: choice(ObjectType),
        func: walk,
        actions: walk,
    }
    CreateDomainStmt {
        domainname: walk,
        type_name: walk,
        coll_clause: walk,
        constraints: walk,
    }
    AlterDomainStmt {
        subtype: scalar,
        type_name: walk,
        name: text,
        def: walk,
        behavior: choice(DropBehavior),
        missing_ok: scalar,
    }
    CompositeTypeStmt {
        typevar: walk,
        coldeflist: walk,
    }
    CreateEnumStmt {
        type_name: walk,
        vals: walk,
    }
    CreateRangeStmt {
        type_name: walk,
        params: walk,
    }
    AlterEnumStmt {
        type_name: walk,
        old_val: text,
        new_val: text,
        new_val_neighbor: text,
        new_val_is_after: scalar,
        skip_if_new_val_exists: scalar,
    }
    AlterTypeStmt {
        type_name: walk,
        options: walk,
    }
    AlterCollationStmt {
        collname: walk,
    }
    AlterOperatorStmt {
        opername: walk,
        options: walk,
    }
    CreateOpClassStmt {
        opclassname: walk,
        opfamilyname: walk,
        amname: text,
        datatype: walk,
        items: walk,
        is_default: scalar,
    }
    CreateOpClassItem {
        itemtype: scalar,
        name: walk,
        number: scalar,
        order_family: walk,
        class_args: walk,
        storedtype: walk,
    }
    CreateOpFamilyStmt {
        opfamilyname: walk,
        amname: text,
    }
    AlterOpFamilyStmt {
        opfamilyname: walk,
        amname: text,
        is_drop: scalar,
        items: walk,
    }
    CreateConversionStmt {
        conversion_name: walk,
        for_encoding_name: text,
        to_encoding_name: text,
        func_name: walk,
        def: scalar,
    }
    CreateCastStmt {
        sourcetype: walk,
        targettype: walk,
        func: walk,
        context: choice(CoercionContext),
        inout: scalar,
    }
    CreateTransformStmt {
        replace: scalar,
        type_name: walk,
        lang: text,
        fromsql: walk,
        tosql: walk,
    }
    CreatePLangStmt {
        replace: scalar,
        plname: text,
        plhandler: walk,
        plinline: walk,
        plvalidator: walk,
        pltrusted: scalar,
    }
    CreateAmStmt {
        amname: text,
        handler_name: walk,
        amtype: scalar,
    }
    CreateEventTrigStmt {
        trigname: text,
        eventname: text,
        whenclause: walk,
        funcname: walk,
    }
    AlterEventTrigStmt {
        trigname: text,
        tgenabled: scalar,
    }
    AlterTSDictionaryStmt {
        dictname: walk,
        options: walk,
    }
    AlterTSConfigurationStmt {
        kind: choice(AlterTSConfigType),
        cfgname: walk,
        tokentype: walk,
        dicts: walk,
        override_: scalar,
        replace: scalar,
        missing_ok: scalar,
    }
    CreateExtensionStmt {
        extname: text,
        if_not_exists: scalar,
        options: walk,
    }
    AlterExtensionStmt {
        extname: text,
        options: walk,
    }
    AlterExtensionContentsStmt {
        extname: text,
        action: scalar,
        objtype: choice(ObjectType),
        object: walk,
    }
}
