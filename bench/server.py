"""The servers under test and the mock upstreams, each one a small record and a start command.

Add a server by adding one function that returns its record, and its name to SERVERS.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from bench.process import BenchError, Child, run_child, wait_for

WORK = Path(__file__).parent / ".work"
VLLM_ROUTER_VERSION = "0.1.17"
KEY = "bench-key-0123456789abcdef0123456789abcdef"
BODY_BYTES = 230
WHOLE_PORT, STREAM_PORT = 9108, 9109
MARK = "The quick brown fox"


@dataclass(frozen=True)
class Route:
    """One way to ask a server: a label for the table, the path and the dialect of the body."""

    label: str
    path: str
    prompt: bool = False


CHAT = Route("chat", "/v1/chat/completions")


@dataclass(frozen=True)
class Server:
    """One server under test: how it is started and how it is asked."""

    name: str
    release: str
    port: int
    command: list[str]
    routes: list[Route] = field(default_factory=lambda: [CHAT])
    headers: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    model: str = "bench"


def build_body(route: Route, model: str, *, stream: bool) -> bytes:
    """Return a request body of BODY_BYTES bytes: the question is padded to fit."""

    def encode(question: str) -> bytes:
        body: dict[str, object]
        if route.prompt:
            parameters = {"max_tokens": 128, "temperature": 0.2}
            body = {"model": model, "prompt": question, "model_parameters": parameters}
        else:
            system = {"role": "system", "content": "You answer in one paragraph."}
            messages = [system, {"role": "user", "content": question}]
            body = {"model": model, "messages": messages, "max_tokens": 128, "temperature": 0.2}
        if stream:
            body["stream"] = True
        return json.dumps(body, separators=(",", ":")).encode()

    words = "why do quick foxes jump over dogs that are lazy " * 5
    return encode(words[: BODY_BYTES - len(encode(""))])


def build_answer(kind: str) -> str:
    """Return the mock upstream's whole answer, about 700 bytes of JSON."""
    text = f"{MARK} jumps over the lazy dog, and then it does so again. " * 5
    choice: dict[str, object] = {"index": 0, "logprobs": None, "finish_reason": "stop"}
    if kind == "chat.completion":
        choice["message"] = {"role": "assistant", "content": text, "refusal": None}
    else:
        choice["text"] = text
    usage = {"prompt_tokens": 40, "completion_tokens": 100, "total_tokens": 140}
    answer = {
        "id": "chatcmpl-benchbenchbenchbenchbench",
        "object": kind,
        "created": 1790000000,
        "model": "bench",
        "choices": [choice],
        "usage": usage,
        "system_fingerprint": None,
    }
    return json.dumps(answer, separators=(",", ":"))


NGINX_FRAME = """
daemon off;
worker_processes 1;
error_log stderr error;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  default_type application/json;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  {content}
}}
"""

NGINX_MOCK = """
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location /v1/chat/completions {{ return 200 '{chat}'; }}
    location /v1/completions {{ return 200 '{text}'; }}
    location / {{ return 200 '{{}}'; }}
  }}
"""

NGINX_PROXY = """
  upstream mock {{
    server 127.0.0.1:{upstream};
    keepalive 64;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://mock;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
"""


def find_tool(name: str) -> str:
    """Return the path of nginx or wrk, or say how to get them."""
    # Debian puts nginx where only root's PATH looks.
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        raise BenchError(f"{name} is missing: apt-get install nginx-light wrk")
    return found


def write_nginx(name: str, content: str) -> list[str]:
    """Write a configuration of its own for one nginx and return its start command."""
    folder = WORK / name
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "nginx.conf"
    config.write_text(NGINX_FRAME.format(folder=folder, content=content))
    return [find_tool("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(config)]


def read_nginx_version() -> str:
    """Return the version of the nginx that is used."""
    done = subprocess.run([find_tool("nginx"), "-v"], check=True, capture_output=True, text=True)
    return done.stderr.strip().rpartition("/")[2]


def start_whole_upstream(stack: ExitStack, core: int | None = None) -> None:
    """Start nginx as the mock upstream for whole answers."""
    content = NGINX_MOCK.format(
        port=WHOLE_PORT, chat=build_answer("chat.completion"), text=build_answer("text_completion")
    )
    whole = run_child("mock", write_nginx("mock", content), WHOLE_PORT, WORK, core=core)
    wait_for(stack.enter_context(whole), f"http://127.0.0.1:{WHOLE_PORT}/health")


def start_upstreams(stack: ExitStack, core: int, tick_ms: float) -> None:
    """Start nginx for whole answers and the ticking mock for streams, both on the load's core."""
    start_whole_upstream(stack, core)
    command = [sys.executable, "-m", "bench.upstream", "--port", str(STREAM_PORT)]
    stream = run_child(
        "mock-stream", [*command, "--tick-ms", str(tick_ms)], STREAM_PORT, WORK, core=core
    )
    wait_for(stack.enter_context(stream), f"http://127.0.0.1:{STREAM_PORT}/health")


def describe_nginx(upstream: int, port: int) -> Server:
    """Return nginx as a reverse proxy with keep-alive to the upstream and no buffering."""
    content = NGINX_PROXY.format(upstream=upstream, port=port)
    return Server(
        name="nginx",
        release=f"nginx {read_nginx_version()}",
        port=port,
        command=write_nginx(f"proxy-{port}", content),
    )


def describe_vllm_router(upstream: int, port: int) -> Server:
    """Return vllm-router at its cheapest: the simplest policy, and no line of log a request."""
    command = build_vllm_router(upstream, port)
    return Server(
        name="vllm-router, cheapest",
        release=f"vllm-router {VLLM_ROUTER_VERSION}",
        port=port,
        command=[*command, "--policy", "round_robin", "--log-level", "error"],
    )


def describe_vllm_router_defaults(upstream: int, port: int) -> Server:
    """Return vllm-router as it comes: its cache-aware policy keeps a tree of prompts."""
    return Server(
        name="vllm-router",
        release=f"vllm-router {VLLM_ROUTER_VERSION}",
        port=port,
        command=build_vllm_router(upstream, port),
    )


def build_vllm_router(upstream: int, port: int) -> list[str]:
    """Return the start command with one worker, the mock upstream."""
    command = [str(install_vllm_router()), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--worker-urls", f"http://127.0.0.1:{upstream}"]
    # The metrics port must be free: its default is the same for every instance.
    return [*command, "--prometheus-port", str(port + 1000), "--worker-startup-check-interval", "1"]


def install_vllm_router() -> Path:
    """Return the launcher, after installing the pinned release into an environment of its own."""
    folder = WORK / f"vllm-router-{VLLM_ROUTER_VERSION}"
    launcher = folder / "bin" / "vllm-router"
    if not launcher.exists():
        print(f"installing vllm-router {VLLM_ROUTER_VERSION} into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(folder / "bin" / "pip"), "install", "--quiet", "--no-input"]
        subprocess.run([*install, f"vllm-router=={VLLM_ROUTER_VERSION}"], check=True)
    return launcher


TRUNKLINE_CONFIG = """
[providers.mock]
wire = "openai"
base_url = "http://127.0.0.1:{upstream}/v1"

[models."bench"]
targets = [{{ provider = "mock", model = "bench" }}]
"""


def write_trunkline(folder: Path, text: str, port: int) -> list[str]:
    """Write a configuration and return the gateway's start command."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "trunkline.toml"
    config.write_text(text)
    command = [str(Path(sys.executable).with_name("trunkline")), "serve", "--config", str(config)]
    return [*command, "--host", "127.0.0.1", "--port", str(port)]


def describe_trunkline(upstream: int, port: int, *, fresh: bool = True) -> Server:
    """Return this gateway with all its defaults on; every request's key is checked."""
    folder = WORK / f"trunkline-{port}"
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    return Server(
        name="trunkline",
        release=f"trunkline {version('trunkline')}",
        port=port,
        command=write_trunkline(folder, TRUNKLINE_CONFIG.format(upstream=upstream), port),
        routes=[
            Route("beta chat, tapped", "/v4/beta/chat/completions"),
            Route("OpenAI chat, tapped", "/v1/chat/completions"),
            Route("completion, translated", "/v4/completions", prompt=True),
        ],
        headers={"x-api-key": KEY},
        env={"TRUNKLINE_BOOTSTRAP_KEY": KEY, "TRUNKLINE_DATA_DIR": str(folder)},
    )


SERVERS: dict[str, Callable[[int, int], Server]] = {
    "nginx": describe_nginx,
    "vllm-router": describe_vllm_router,
    "vllm-router-defaults": describe_vllm_router_defaults,
    "trunkline": describe_trunkline,
}


def start_server(stack: ExitStack, server: Server, kind: str, core: int) -> Child:
    """Start a server under test on its core and wait until it relays the first answer."""
    name = f"{server.command[0].rpartition('/')[2]}-{kind}-{server.port}"
    child = stack.enter_context(
        run_child(name, server.command, server.port, WORK, core=core, env=server.env)
    )
    route = server.routes[0]
    body = build_body(route, server.model, stream=kind == "stream")
    headers = {"content-type": "application/json", **server.headers}
    wait_for(child, f"http://127.0.0.1:{server.port}{route.path}", body, headers)
    return child
