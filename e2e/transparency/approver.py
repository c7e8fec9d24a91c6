"""Says yes to every request that stands on approve.sock, as soon as it is heard of: as the user with the given uid."""
import json
import os
import socket
import sys


def lines(path, call):
    one = socket.socket(socket.AF_UNIX)
    one.connect(path)
    one.sendall(json.dumps(call).encode() + b"\n")
    return one, one.makefile("rb")


def main(path):
    votes, answers = None, None

    def vote(item):
        nonlocal votes, answers
        name = item["metadata"]["name"]
        if item.get("status", {}).get("phase", "Pending") != "Pending":
            return
        call = {"do": "decide", "name": name, "decision": "approve", "reason": "transparency"}
        for _ in range(2):
            try:
                if votes is None:
                    votes, answers = lines(path, call)
                else:
                    votes.sendall(json.dumps(call).encode() + b"\n")
                answer = answers.readline()
                if answer:
                    answer = json.loads(answer)
                    print(name, item["spec"].get("statement", "")[:150], answer.get("message", answer["is"]))
                    return
            except OSError:
                pass
            votes = None

    _, changes = lines(path, {"do": "watch"})
    for line in changes:
        said = json.loads(line)
        for item in said.get("items", []) if said["is"] == "requests" else [said["item"]]:
            vote(item)


uid = int(sys.argv[2])
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
main(sys.argv[1])
