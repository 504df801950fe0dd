"""A small internet in a network namespace of its own: a resolver and hosts that
answer, fail or lie as the scene says. Prints `ready`, then serves until it is ended.

Usage: net.py SCENE.json

The scene: `names` ({name: [addresses] | "nowhere" | "silent" | "refused"}, "*" for any other), `hosts`
({address: {port, cert, key, status, date, reset, silent}}).
"""
import email.utils
import json
import socket
import ssl
import struct
import sys
import threading
import time

scene = json.load(open(sys.argv[1]))


def name_of(query):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += query[at] + 1
    return ".".join(labels).lower(), struct.unpack(">H", query[at + 1 : at + 3])[0], at + 5


def resolver():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    while True:
        query, peer = server.recvfrom(4096)
        name, kind, end = name_of(query)
        what = scene["names"].get(name, scene["names"].get("*", "nowhere"))
        if what == "silent":
            continue
        code = {"nowhere": 3, "refused": 2}.get(what, 0) if isinstance(what, str) else 0
        answers = what if isinstance(what, list) and kind == 1 else []
        head = query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(answers), 0, 0)
        body = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(a) for a in answers)
        server.sendto(head + query[12:end] + body, peer)


def serve(address, port, how):
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    server.listen(20)
    context = None
    if "cert" in how:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(how["cert"], how["key"])
    while True:
        peer, _ = server.accept()
        threading.Thread(target=answer, args=(peer, context, how), daemon=True).start()


def answer(peer, context, how):
    try:
        if how.get("silent"):
            time.sleep(60)
        if how.get("reset"):
            peer.recv(1)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            return
        if context:
            peer = context.wrap_socket(peer, server_side=True)
        asked = b""
        while b"\r\n\r\n" not in asked:
            part = peer.recv(4096)
            if not part:
                return
            asked += part
        with open(sys.argv[1] + ".asked", "ab") as log:
            log.write(asked)
        date = email.utils.formatdate(time.time() + how.get("date", 0), usegmt=True)
        status = how.get("status", 200)
        more = "Location: http://portal.example/\r\n" if status in (302, 307) else ""
        peer.sendall(f"HTTP/1.1 {status} X\r\nDate: {date}\r\n{more}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
        peer.close()
    except OSError:
        pass


threading.Thread(target=resolver, daemon=True).start()
for address, all_of_it in scene["hosts"].items():
    for how in all_of_it:
        threading.Thread(target=serve, args=(address, how["port"], how), daemon=True).start()
time.sleep(0.3)
print("ready", flush=True)
time.sleep(120)
