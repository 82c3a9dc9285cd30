"""targets: real programs with fresh secrets, exercised before they crash.

A target starts a program below a scratch directory, does what the program is for (a handshake, a
signature), and says which process is to die and which secrets it holds. Adding one is a class of
a dozen lines.
"""

import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import threading

from crash import BUILD, wait_for, write

PYTHON = "/usr/bin/python3"
PRELOAD = os.path.join(BUILD, "tools", "crash_thread.so")


def openssl(*arguments, cwd):
    subprocess.run(["openssl", *arguments], cwd=cwd, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def certificate(directory, name, kind):
    """A fresh key and a certificate of it: NAME.key, NAME.crt."""
    how = {"rsa": ["rsa:2048"], "ec": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]}[kind]
    openssl("req", "-x509", "-newkey", *how, "-nodes", "-keyout", f"{name}.key", "-out",
            f"{name}.crt", "-days", "2", "-subj", f"/CN={name}.example", cwd=directory)
    return os.path.join(directory, name + ".key"), os.path.join(directory, name + ".crt")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def handshake(port, ciphers=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if ciphers:                               # TLS 1.2, to choose the kind of certificate
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(ciphers)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        with context.wrap_socket(plain) as tls:
            tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
            tls.recv(1024)


class Target:
    """`files`: key files; `texts`: secrets that are text; `pid`: who crashes."""

    ciphers = [None]
    exe = None

    def __init__(self, directory):
        self.dir = directory
        self.keys = os.path.join(directory, "keys")     # what the policy's rule names
        os.makedirs(self.keys, mode=0o755)
        self.files, self.texts, self.processes = [], [], []
        self.trigger = os.path.join(directory, "crash")
        self.loading = None

    def spawn(self, *argv, **more):
        env = dict(os.environ, LD_PRELOAD=PRELOAD, CRASH_TRIGGER=self.trigger, LC_ALL="C")
        env.update(more.pop("env", {}))
        resource = "ulimit -c unlimited; exec \"$@\""
        process = subprocess.Popen(["/bin/sh", "-c", resource, "sh", *argv], env=env,
                                   cwd=self.dir, stdin=subprocess.PIPE,
                                   stdout=open(os.path.join(self.dir, "out"), "ab"),
                                   stderr=subprocess.STDOUT, start_new_session=True, **more)
        self.processes.append(process)
        return process

    def start(self):
        raise NotImplementedError

    def exercise(self):
        for c in self.ciphers:
            wait_for(f"a handshake with {type(self).__name__}", lambda c=c: self.try_handshake(c))

    def try_handshake(self, ciphers=None):
        try:
            handshake(self.port, ciphers)
            return True
        except (OSError, ssl.SSLError):
            return False

    def load(self):
        """Keeps the program busy from a thread of ours until stop()."""
        self.loading = threading.Event()

        def work():
            i = 0
            while not self.loading.is_set():
                self.try_handshake(self.ciphers[i % len(self.ciphers)])
                i += 1
        threading.Thread(target=work, daemon=True).start()

    def stop(self):
        if self.loading:
            self.loading.set()
        for process in self.processes:
            try:
                os.killpg(process.pid, 9)
            except ProcessLookupError:
                pass
            process.wait()

    def still(self):
        """Before the crash: whoever else writes to memory shared with the victim stops."""

    def child(self, parent):
        path = f"/proc/{parent}/task/{parent}/children"
        return int(wait_for("a child", lambda: open(path).read().split())[0])


class NginxWorker(Target):
    exe = "/usr/sbin/nginx"
    ciphers = ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", None]

    def start(self):
        self.port = free_port()
        pairs = [certificate(self.keys, n, n) for n in ("rsa", "ec")]
        self.files = [key for key, _ in pairs]
        lines = "".join(f"ssl_certificate {crt}; ssl_certificate_key {key};\n"
                        for key, crt in pairs)
        write(os.path.join(self.dir, "nginx.conf"), f"""
            user root; worker_processes 1; daemon off; pid {self.dir}/pid; error_log {self.dir}/e;
            events {{ worker_connections 64; }}
            http {{ access_log off; client_body_temp_path {self.dir}/b; proxy_temp_path {self.dir}/p;
              fastcgi_temp_path {self.dir}/f; uwsgi_temp_path {self.dir}/u; scgi_temp_path {self.dir}/s;
              server {{ listen 127.0.0.1:{self.port} ssl; {lines}
                        location / {{ return 200 "ok"; }} }} }}""")
        self.master = self.spawn("nginx", "-p", self.dir, "-c", os.path.join(self.dir, "nginx.conf"),
                                 "-e", os.path.join(self.dir, "e")).pid
        self.pid = self.child(self.master)


class NginxMaster(NginxWorker):
    def start(self):
        super().start()
        self.worker, self.pid = self.pid, self.master

    def still(self):
        # The worker shares memory with its master and lives on: what it counts there between the
        # kernel's dump and ours is no fault of either.
        os.kill(self.worker, signal.SIGSTOP)


class SServerRsa(Target):
    exe = "/usr/bin/openssl"
    kind = "rsa"

    def start(self):
        self.port = free_port()
        key, crt = certificate(self.keys, self.kind, self.kind)
        self.files = [key]
        self.pid = self.spawn("openssl", "s_server", "-accept", f"127.0.0.1:{self.port}", "-key",
                              key, "-cert", crt, "-www", "-quiet").pid


class SServerEc(SServerRsa):
    kind = "ec"


class Apache(Target):
    exe = "/usr/sbin/apache2"

    def start(self):
        self.port = free_port()
        key, crt = certificate(self.keys, "apache", "rsa")
        self.files = [key]
        modules = "/usr/lib/apache2/modules"
        os.chmod(self.dir, 0o777)              # CoreDumpDirectory: its children drop root
        write(os.path.join(self.dir, "httpd.conf"), f"""
            ServerRoot {self.dir}
            ServerName localhost
            PidFile {self.dir}/httpd.pid
            ErrorLog {self.dir}/error.log
            Mutex file:{self.dir} default
            CoreDumpDirectory {self.dir}
            User www-data
            Group www-data
            LoadModule mpm_event_module {modules}/mod_mpm_event.so
            LoadModule authz_core_module {modules}/mod_authz_core.so
            LoadModule socache_shmcb_module {modules}/mod_socache_shmcb.so
            LoadModule ssl_module {modules}/mod_ssl.so
            StartServers 1
            ServerLimit 1
            ThreadsPerChild 8
            MaxRequestWorkers 8
            MinSpareThreads 1
            MaxSpareThreads 8
            ThreadLimit 8
            Listen 127.0.0.1:{self.port}
            DocumentRoot {self.dir}
            SSLEngine on
            SSLCertificateFile {crt}
            SSLCertificateKeyFile {key}
            """)
        master = self.spawn("apache2", "-f", os.path.join(self.dir, "httpd.conf"), "-DFOREGROUND").pid
        self.pid = self.child(master)


class Python(Target):
    """One key three times: its PEM text as bytes and str, its numbers as int; it signs all along."""

    exe = PYTHON
    program = """
import sys, time
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
as_bytes = open(sys.argv[1], 'rb').read()
as_text = as_bytes.decode()
key = serialization.load_pem_private_key(as_bytes, None)
n = key.private_numbers()
as_int = [n.p, n.q, n.d, n.dmp1, n.dmq1, n.iqmp]
raw = [v.to_bytes((v.bit_length() + 7) // 8, 'big') for v in as_int]
key.sign(b'x', padding.PKCS1v15(), hashes.SHA256())
print('ready', flush=True)
while True:
    key.sign(b'x', padding.PKCS1v15(), hashes.SHA256())
    time.sleep(0.05)
"""

    def start(self):
        key, _ = certificate(self.keys, "python", "rsa")
        self.files = [key]
        self.pid = self.spawn(PYTHON, "-c", self.program, key).pid

    def exercise(self):
        wait_for("a signature", lambda: b"ready" in open(os.path.join(self.dir, "out"), "rb").read())

    def load(self):
        pass                                    # it never rests


class PythonSigning(Python):
    """The same, nearly always in the middle of a signature when it dies."""

    program = Python.program.replace("    time.sleep(0.05)\n", "")


class PythonSettings(Python):
    """Settings with secrets, read from a text file and held as programs hold them: parsed, in JSON,
    in base64, in hexadecimal, in a URL."""

    program = """
import base64, json, sys, time, urllib.parse
settings = dict(line.rstrip().split('=', 1) for line in open(sys.argv[1]))
held = [json.dumps(settings), urllib.parse.quote(settings['PASSWORD']),
        base64.b64encode(settings['TOKEN'].encode()), settings['TOKEN'].encode().hex(),
        {'Authorization': 'Bearer ' + settings['TOKEN']}]
print('ready', flush=True)
while True:
    held[0] = json.dumps(settings)
    time.sleep(0.05)
"""

    def start(self):
        path = os.path.join(self.keys, "settings.key")
        self.texts = [secrets.token_urlsafe(32), 'p"' + secrets.token_urlsafe(18) + "/é%"]
        write(path, f"TOKEN={self.texts[0]}\nPASSWORD={self.texts[1]}\n")
        os.chmod(path, 0o600)
        self.pid = self.spawn(PYTHON, "-c", self.program, path, env={"LC_ALL": "C.UTF-8"}).pid


class Curl(Target):
    """A client certificate, a bearer token in argv, and a server that never answers."""

    exe = "/usr/bin/curl"

    def start(self):
        self.port = free_port()
        key, crt = certificate(self.keys, "client", "ec")
        server_dir = os.path.join(self.dir, "server")
        os.makedirs(server_dir)
        server_key, server_crt = certificate(server_dir, "server", "rsa")
        self.files = [key]
        self.token = secrets.token_urlsafe(32)
        self.texts = [self.token]
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(server_crt, server_key)
        self.server.load_verify_locations(crt)
        self.server.verify_mode = ssl.CERT_REQUIRED
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.heard = threading.Event()
        threading.Thread(target=self.serve, daemon=True).start()
        self.pid = self.spawn("curl", "-sk", "--cert", crt, "--key", key, "-H",
                              f"Authorization: Bearer {self.token}",
                              f"https://127.0.0.1:{self.port}/").pid

    def serve(self):
        try:
            plain, _ = self.listener.accept()
            self.held = self.server.wrap_socket(plain, server_side=True)
            if self.token.encode() in self.held.recv(4096):
                self.heard.set()
        except (OSError, ssl.SSLError) as error:
            print(f"# curl's server: {error}", file=sys.stderr)

    def exercise(self):
        if not self.heard.wait(20):
            raise TimeoutError("curl sent no request")

    def load(self):
        pass

    def stop(self):
        super().stop()
        self.listener.close()


ALL = [NginxWorker, NginxMaster, SServerRsa, SServerEc, Apache, Python, PythonSigning, PythonSettings, Curl]
