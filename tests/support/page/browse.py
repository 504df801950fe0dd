#!/usr/bin/env python3
"""Lets the real Chromium and Firefox visit a page, to fill a home folder or to read it back.

Usage: browse.py fill|read|load [--browser chromium|firefox]... [--end close|kill] [--http-cache KIND] HOME_DIR

The page is served under the sites' real names over TLS: this program is the browsers' only proxy, so their traffic
goes nowhere but here, whatever the name. A certificate authority made for the one home vouches for it.
Prints one JSON document: per browser, per site, what the page found in its stores; with `load`, which of the cacheable
files the browser had to ask for again.
"""
import argparse
import ctypes
import hashlib
import http.server
import json
import os
import pathlib
import queue
import secrets
import shutil
import signal
import socket
import socketserver
import ssl
import struct
import subprocess
import sys
import threading
import time
import zlib

HERE = pathlib.Path(__file__).resolve().parent
SITES = ["seller-us.tiktok.com", "www.tiktok.com", "forum.example.net"]
FILES = {"/page.js": "text/javascript", "/worker.js": "text/javascript"}
PAGES = {"/fill": "fill.html", "/read": "read.html", "/load": "load.html"}
LOGIN = "sessionid=5f1d0c9ab2e84a7d; Max-Age=31536000; Path=/; Secure; HttpOnly; SameSite=Lax"
# A page that has not reported by then never will; a loaded machine gets there in a fifth of it.
REPORT_SECONDS = 180
END_SECONDS = 60


def noise(seed, length):
    """The same incompressible bytes for the same seed."""
    out = bytearray()
    block = str(seed).encode()
    while len(out) < length:
        block = hashlib.sha256(block).digest()
        out += block
    return bytes(out[:length])


def png(seed):
    """A real picture of 48 to 111 pixels a side."""
    side = 48 + seed % 64
    rows = b"".join(b"\0" + noise(seed * 1000 + y, side * 3) for y in range(side))

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def asset(name):
    stem, _, kind = name.rpartition(".")
    seed = int(stem) if stem.isdigit() else 1
    if kind == "png":
        return "image/png", png(seed)
    if kind == "js":
        functions = "\n".join(f"function f{seed}_{i}(a) {{ return a + {seed * i}; }}" for i in range(200))
        return "text/javascript", f"{functions}\nwindow.loaded = f{seed}_1({seed});\n".encode()
    if kind == "css":
        return "text/css", "\n".join(f".c{seed}_{i} {{ margin: {i}px }}" for i in range(150)).encode()
    return "application/json", json.dumps({"seed": seed, "data": noise(seed, 3000 + seed * 40).hex()}).encode()


class Page(http.server.BaseHTTPRequestHandler):
    """The proxy, and behind it the sites."""

    protocol_version = "HTTP/1.1"
    timeout = 300

    def log_message(self, *_):
        pass

    def do_CONNECT(self):
        host = self.path.partition(":")[0]
        if host not in SITES:
            self.send_error(502, "no way out of this machine")
            return
        self.send_response(200)
        self.end_headers()
        try:
            self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        except (OSError, ssl.SSLError):
            self.close_connection = True
            return
        self.rfile = self.connection.makefile("rb", -1)
        self.wfile = socketserver._SocketWriter(self.connection)
        self.site = host
        self.close_connection = False

    def answer(self, kind, body, headers=(), status=200):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path = self.path.partition("?")[0]
        never = [("Cache-Control", "no-store")]
        forever = [("Cache-Control", "public, max-age=31536000, immutable"),
                   ("Last-Modified", "Sat, 01 Aug 2026 10:00:00 GMT"), ("ETag", f'"{path}"')]
        if not hasattr(self, "site"):
            self.send_error(502, "no way out of this machine")
        elif path in PAGES:
            self.answer("text/html; charset=utf-8", (HERE / PAGES[path]).read_bytes(), never)
        elif path in FILES:
            self.answer(FILES[path], (HERE / path[1:]).read_bytes(), never)
        elif path == "/whoami":
            names = sorted(c.strip().partition("=")[0] for c in self.headers.get("Cookie", "").split(";") if c.strip())
            logged_in = "sessionid=5f1d0c9ab2e84a7d" in self.headers.get("Cookie", "")
            self.answer("application/json", json.dumps({"session": logged_in, "names": names}).encode(), never)
        elif path.startswith("/asset/"):
            self.server.asked.append((self.site, path.removeprefix("/asset/")))
            kind, body = asset(path.removeprefix("/asset/"))
            self.answer(kind, body, forever)
        elif path.startswith("/offline/"):
            self.answer("text/plain", noise(path, 5000).hex().encode(), never)
        else:
            self.answer("text/plain", b"not here", never, 404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not hasattr(self, "site"):
            self.send_error(502, "no way out of this machine")
        elif self.path == "/login":
            self.answer("text/plain", b"in", [("Set-Cookie", LOGIN), ("Cache-Control", "no-store")])
        elif self.path == "/report":
            at = SITES.index(self.site)
            following = SITES[at + 1] if at + 1 < len(SITES) else None
            self.answer("application/json", json.dumps({"next": following}).encode())
            report = json.loads(body)
            if report["visit"] == self.server.visit:
                self.server.reports.put(report)
        else:
            self.answer("text/plain", b"not here", (), 404)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        """A browser that hangs up in mid-answer is no news."""


def run(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed ({done.returncode}): {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def authority(home):
    """The home's certificate authority and the sites' certificate, made at the first visit."""
    folder = home / "page-authority"
    if not folder.exists():
        folder.mkdir(parents=True)
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        run("openssl", "req", "-x509", *key, "-subj", "/CN=shopmend test page authority", "-days", "60",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign",
            "-keyout", folder / "ca.key", "-out", folder / "ca.pem")
        names = ",".join(f"DNS:{site}" for site in SITES)
        run("openssl", "req", "-new", *key, "-subj", f"/CN={SITES[0]}", "-keyout", folder / "site.key",
            "-out", folder / "site.csr")
        (folder / "ext").write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n")
        run("openssl", "x509", "-req", "-in", folder / "site.csr", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
            "-set_serial", "2", "-days", "60", "-extfile", folder / "ext", "-out", folder / "site.pem")
    return folder


def trust(folder, database):
    """Adds the authority to an NSS database, as a person would in the browser's settings."""
    if not (database / "cert9.db").exists():
        database.mkdir(parents=True, exist_ok=True)
        run("certutil", "-N", "--empty-password", "-d", f"sql:{database}")
        run("certutil", "-A", "-n", "test page", "-t", "C,,", "-i", folder / "ca.pem", "-d", f"sql:{database}")


def environment(home):
    """The home and nothing that leads elsewhere."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    return kept | {"HOME": str(home)}


def chromium(home, port, url, http_cache):
    trust(authority(home), home / ".pki/nssdb")
    # Headless shells up to 109 write DevToolsActivePort into it and do not make it.
    (home / ".config/chromium/Default").mkdir(parents=True, exist_ok=True)
    command = [
        "chromium", "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--password-store=basic",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
        # Headless Chromium would take a throw-away folder; this is the one that a person's Chromium takes.
        f"--user-data-dir={home / '.config/chromium'}",
        "--remote-debugging-port=0", f"--proxy-server=127.0.0.1:{port}", "--proxy-bypass-list=<-loopback>",
    ]
    if os.geteuid() == 0:
        command.append("--no-sandbox")
    if http_cache == "blockfile":
        # How Chromium up to 126 is asked for it.
        command.append("--force-fieldtrials=SimpleCacheTrial/Disable/")
    if http_cache:
        command.append(f"--enable-features=DiskCacheBackendExperiment:backend/{http_cache}")
    return command + [url], environment(home)


FIREFOX_PREFS = {
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.aboutwelcome.enabled": False,
    "browser.newtabpage.enabled": False,
    # The thumbnailer opens visited pages again, in a container of its own, and would report for them.
    "browser.pagethumbnails.capturing_disabled": True,
    "browser.safebrowsing.downloads.remote.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.sessionstore.resume_from_crash": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "browser.topsites.contile.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.systemAddon.update.enabled": False,
    "extensions.update.enabled": False,
    "marionette.port": 0,
    "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.dns.disablePrefetch": True,
    "network.http.speculative-parallel-limit": 0,
    "network.prefetch-next": False,
    "network.proxy.allow_hijacking_localhost": True,
    "network.proxy.no_proxies_on": "",
    "network.proxy.type": 1,
    "network.trr.mode": 5,
    "remote.prefs.recommended": False,
    "services.settings.server": "data:,#remote-settings-dummy/v1",
    "toolkit.telemetry.enabled": False,
    "toolkit.telemetry.unified": False,
}


def firefox_program():
    return "firefox-esr" if shutil.which("firefox-esr") else "firefox"


def firefox_profile(home):
    """The default profile's folder: below ~/.mozilla, or below ~/.config where newer versions keep it."""
    for root in (home / ".mozilla/firefox", home / ".config/mozilla/firefox"):
        found = sorted(p for p in root.glob("*.default*") if p.is_dir())
        if found:
            return found[0]
    return None


def firefox(home, port, url, _http_cache):
    if firefox_profile(home) is None:
        run(firefox_program(), "--headless", "-CreateProfile", "default-esr", env=environment(home), timeout=120)
    profile = firefox_profile(home)
    if profile is None:
        sys.exit(f"firefox made no profile below {home}")
    trust(authority(home), profile)
    prefs = FIREFOX_PREFS | {"network.proxy.http": "127.0.0.1", "network.proxy.ssl": "127.0.0.1",
                             "network.proxy.http_port": port, "network.proxy.ssl_port": port}
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in sorted(prefs.items())]
    (profile / "user.js").write_text("".join(lines))
    variables = environment(home) | {"MOZ_CRASHREPORTER_DISABLE": "1"}
    return [firefox_program(), "--headless", "--marionette", "--no-remote", "--profile", str(profile), url], variables


BROWSERS = {"chromium": chromium, "firefox": firefox}


def close_chromium(home):
    """Closes every window through the debugging socket; a signal would lose what is not yet written."""
    port, path = (home / ".config/chromium/DevToolsActivePort").read_text().split()
    with socket.create_connection(("127.0.0.1", int(port)), 10) as link:
        link.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Key: c2hvcG1lbmQgc2hvcG1lbmQ=\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            part = link.recv(4096)
            if not part:
                raise OSError("no answer from the debugging socket")
            answer += part
        order = json.dumps({"id": 1, "method": "Browser.close"}).encode()
        link.sendall(bytes([0x81, 0x80 | len(order), 0, 0, 0, 0]) + order)
        while link.recv(4096):
            pass


def close_firefox(home):
    """Quits through Marionette, which is the menu's Quit; a signal would end it at once."""
    port = (firefox_profile(home) / "MarionetteActivePort").read_text()
    with socket.create_connection(("127.0.0.1", int(port)), 10) as link:
        link.settimeout(30)
        replies = link.makefile("rb")

        def reply():
            length = b""
            while not length.endswith(b":"):
                byte = replies.read(1)
                if not byte:
                    raise OSError("Marionette hung up")
                length += byte
            return replies.read(int(length[:-1]))

        reply()
        for number, order, values in ((1, "WebDriver:NewSession", {}), (2, "Marionette:Quit", {"flags": ["eAttemptQuit"]})):
            text = json.dumps([0, number, order, values])
            link.sendall(f"{len(text)}:{text}".encode())
            reply()


CLOSE = {"chromium": close_chromium, "firefox": close_firefox}


def end(name, home, process, how):
    """Ends the browser and waits until all that it started is gone, so that nothing writes any more."""
    closed = False
    if how == "close" and process.poll() is None:
        try:
            CLOSE[name](home)
            closed = True
        except (OSError, ValueError) as error:
            print(f"warning: {name} could not be closed: {error}", file=sys.stderr)
    deadline = time.monotonic() + END_SECONDS
    while closed and descendants():
        if time.monotonic() > deadline:
            print(f"warning: {name} did not close within {END_SECONDS} s", file=sys.stderr)
            break
        process.poll()
        time.sleep(0.05)
    while left := descendants():
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.05)
    process.wait()


def adopt_orphans():
    """Makes this process the parent of what its children leave behind. A browser's crash handler is a session of its
    own and outlives it for a moment: its process group would not tell."""
    PR_SET_CHILD_SUBREAPER = 36
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")


def descendants():
    """The running processes below this one; zombies that nobody awaits do not count."""
    parents, running = {}, set()
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(stat.parent.name)
        parents[pid] = int(fields[1])
        if fields[0] not in "ZX":
            running.add(pid)
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return (found & running) - {os.getpid()}


def visit(name, mode, home, how, http_cache=None):
    """One browser goes through all sites; answers what each of them reported."""
    folder = authority(home)
    server = Server(("127.0.0.1", 0), Page)
    server.reports = queue.Queue()
    server.asked = []
    # Names this visit, so that a page which the browser restores from an earlier one is not taken for it.
    server.visit = f"?{secrets.token_hex(8)}"
    server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.tls.load_cert_chain(folder / "site.pem", folder / "site.key")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command, variables = BROWSERS[name](home, server.server_port, f"https://{SITES[0]}/{mode}{server.visit}",
                                        http_cache)
    log = open(os.environ.get("SHOPMEND_BROWSER_LOG", os.devnull), "ab")
    process = subprocess.Popen(command, env=variables, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                               start_new_session=True)
    holds = {}
    try:
        deadline = time.monotonic() + REPORT_SECONDS
        while len(holds) < len(SITES):
            try:
                report = server.reports.get(timeout=1)
            except queue.Empty:
                if process.poll() is not None:
                    sys.exit(f"{name} ended by itself ({process.returncode}) before the page reported")
                if time.monotonic() > deadline:
                    sys.exit(f"{name}: no report of the page within {REPORT_SECONDS} s")
                continue
            if "error" in report:
                sys.exit(f"{name}: {report['site']}: {report['error']}")
            holds[report["site"]] = report["holds"]
    finally:
        end(name, home, process, how)
        server.shutdown()
        log.close()
    if mode == "load":
        return {site: {"asked": sorted({a for s, a in server.asked if s == site}), **holds[site]} for site in holds}
    return holds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["fill", "read", "load"])
    parser.add_argument("--browser", action="append", choices=sorted(BROWSERS))
    parser.add_argument("--end", choices=["close", "kill"], default="close",
                        help="how the browser ends: closed (default), or killed, which leaves its journals hot")
    parser.add_argument("--http-cache", choices=["simple", "blockfile", "sql"],
                        help="how Chromium keeps its HTTP cache, instead of its default for this system")
    parser.add_argument("home", type=pathlib.Path)
    arguments = parser.parse_args()
    home = arguments.home.resolve()
    adopt_orphans()
    names = arguments.browser or sorted(BROWSERS)
    needed = {"chromium": "chromium", "firefox": firefox_program()}
    missing = [tool for tool in ["openssl", "certutil", *(needed[name] for name in names)] if not shutil.which(tool)]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}")
    home.mkdir(parents=True, exist_ok=True)
    found = {name: visit(name, arguments.mode, home, arguments.end, arguments.http_cache) for name in names}
    json.dump(found, sys.stdout, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
