#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A small MCP server over stdio that does what tests want to see handled."""
import json
import os
import sys
import threading

lock = threading.Lock()
answers = {}
answered = threading.Condition()
cancelled = threading.Event()
waiting = threading.Event()


def say(message):
    with lock:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def text(value, error=False):
    return {"content": [{"type": "text", "text": value}], "isError": error}


def prop(kind, **more):
    return dict({"type": kind}, **more)


PAGES = [
    [{"name": "echo", "description": "Says it again.\nMore about it.",
      "inputSchema": {"type": "object", "required": ["message"], "properties": {
          "message": prop("string", description="what to say"),
          "times": prop("integer", minimum=1, maximum=3, default=1),
          "loud": prop("boolean"),
          "tone": prop("string", enum=["low", "high"]),
          "tags": {"type": "array", "items": prop("string")},
          "extra": prop("object")}}},
     {"name": "add", "description": "Adds.", "inputSchema": {
         "type": "object", "required": ["a", "b"],
         "properties": {"a": prop("number"), "b": prop("number")}}}],
    [{"name": name, "description": name, "inputSchema": {"type": "object"}}
     for name in ("fail", "refuse", "wait", "waiting", "was-cancelled", "die", "noise", "ask", "pid", "big",
                  "deep")],
]


def call(request):
    name, arguments = request["params"]["name"], request["params"]["arguments"]
    if name == "echo":
        word = arguments["message"] * arguments.get("times", 1)
        rest = {k: v for k, v in arguments.items() if k not in ("message", "times")}
        return text(word + (" " + json.dumps(rest, sort_keys=True) if rest else ""))
    if name == "add":
        return text(str(arguments["a"] + arguments["b"]))
    if name == "fail":
        return text("it went wrong", True)
    if name == "wait":
        waiting.set()
        threading.Event().wait(600)
    if name == "waiting":
        return text(str(waiting.wait(20)))
    if name == "was-cancelled":
        return text(str(cancelled.wait(20)))
    if name == "die":
        os._exit(3)
    if name == "noise":
        with lock:
            sys.stdout.write("this is no JSON\n\n[1, 2]\n")
        say({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "hello"}})
        say({"jsonrpc": "2.0", "id": 999999, "result": {}})
        return text("still here")
    if name == "ask":
        say({"jsonrpc": "2.0", "id": "p1", "method": "ping"})
        say({"jsonrpc": "2.0", "id": "p2", "method": "roots/list"})
        with answered:
            answered.wait_for(lambda: len(answers) == 2, 20)
        return text("%s %s" % ("result" in answers["p1"], answers["p2"]["error"]["code"]))
    if name == "pid":
        return text(str(os.getpid()))
    if name == "big":
        return text("0123456789abcdef" * (1 << 18))
    if name == "deep":
        return {"content": json.loads("[" * 200 + "]" * 200)}
    return None


def answer(request):
    result = call(request)
    if result is None:
        say({"jsonrpc": "2.0", "id": request["id"],
             "error": {"code": -32000, "message": "refused by the double"}})
    else:
        say({"jsonrpc": "2.0", "id": request["id"], "result": result})


def main():
    initialized = False
    for line in sys.stdin:
        message = json.loads(line)
        method = message.get("method")
        if method == "initialize":
            say({"jsonrpc": "2.0", "id": message["id"], "result": {
                "protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                "serverInfo": {"name": "double", "version": "1"}}})
        elif method == "notifications/initialized":
            initialized = True
        elif method == "notifications/cancelled":
            cancelled.set()
        elif method == "tools/list" and initialized:
            page = int(message["params"].get("cursor", "0"))
            result = {"tools": PAGES[page]}
            if page + 1 < len(PAGES):
                result["nextCursor"] = str(page + 1)
            say({"jsonrpc": "2.0", "id": message["id"], "result": result})
        elif method == "tools/call" and initialized:
            threading.Thread(target=answer, args=(message,), daemon=True).start()
        elif method is None:
            with answered:
                answers[message["id"]] = message
                answered.notify_all()


main()
