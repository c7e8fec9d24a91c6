"""Reads OCSF events, one JSON object a line, and says which are not what the schema of their class says.

The schemas are those of OCSF 1.7.0, made of the published ones by ocsf-json-schema. What they allow as additional
fields is left to them; here an unknown field is an error too, so that a misspelt one is found.
"""

import json
import sys

import jsonschema
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

raw = get_ocsf_schema("1.7.0")
schemas = OcsfJsonSchemaEmbedded(raw)
validators, failed, counted = {}, False, {}


def validator(uid, profiles):
    if (uid, profiles) not in validators:
        schema = schemas.get_class_schema(schemas.lookup_class_name_from_uid(uid), list(profiles))
        jsonschema.Draft202012Validator.check_schema(schema)
        validators[(uid, profiles)] = jsonschema.Draft202012Validator(schema)
    return validators[(uid, profiles)]


for number, line in enumerate(sys.stdin, 1):
    event = json.loads(line)
    uid = event["class_uid"]
    check = validator(uid, tuple(event["metadata"].get("profiles", [])))
    counted[uid] = counted.get(uid, 0) + 1
    errors = [f"{'.'.join(map(str, e.absolute_path))}: {e.message[:300]}" for e in check.iter_errors(event)]
    unknown = set(event) - set(check.schema["properties"])
    errors += [f"{name}: no field of this class" for name in sorted(unknown)]
    if event["type_uid"] != uid * 100 + event["activity_id"]:
        errors.append("type_uid: not class and activity")
    for error in errors:
        failed = True
        print(f"line {number}, class {uid}: {error}")
print(json.dumps(counted, sort_keys=True))
sys.exit(failed)
