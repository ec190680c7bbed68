#!/usr/bin/env python3
"""Follow docs/start.md letter by letter on a bare system, as root in the folder with the packages: each ```sh block in sh, the ```sql blocks in one psql session.

  start_blocks.py START.md MODEL      MODEL answers on loopback for the hub, which a test cannot reach
  start_blocks.py --hub MODEL         only answer for the hub: prints its address, until it is killed
What it must come to: the chat's answer names Paris, and three summaries."""
import http.server
import os
import re
import subprocess
import sys
import threading
import time


def serve(model):
    class Hub(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(os.path.getsize(model)))
            self.end_headers()
            with open(model, "rb") as file:
                while block := file.read(1 << 20):
                    self.wfile.write(block)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def psql(script):
    return subprocess.run(["su", "postgres", "-c", "psql -X -v ON_ERROR_STOP=1 -P pager=off"], input=script, text=True, capture_output=True, check=False)


def main():
    page, model = sys.argv[1:]
    if page == "--hub":
        print(serve(model), flush=True)
        threading.Event().wait()
    with open(page, encoding="utf-8") as file:
        blocks = re.findall(r"^```(sh|sql)\n(.*?)^```$", file.read(), re.M | re.S)
    os.environ["QWEN_PG_HUB"] = serve(model)
    began = time.monotonic()
    so_far, printed = "", ""
    for kind, text in blocks:
        if kind == "sh":
            done = subprocess.run(["sh", "-e"], input=text, text=True, capture_output=True, check=False)
        else:
            # who reads on waits for `serving`; one session, so the blocks before are its beginning
            if "qwen_model_list" in text:
                done = psql(text)
                if done.returncode == 0:
                    for _ in range(150):
                        if psql("SET search_path = public, qwen; SELECT 'it is ' || state FROM qwen_models").stdout.count("it is serving"):
                            break
                        time.sleep(0.2)
                so_far = "SET search_path = public, qwen;\n"
            else:
                done = psql(so_far + text)
        printed += done.stdout
        if done.returncode != 0:
            sys.exit(f"this block of {page} fails:\n{text}\n{done.stdout}{done.stderr}")
    if "Paris" not in printed or not re.search(r"^ +3 \| \S", printed, re.M):
        sys.exit(f"{page} did not come to an answer and summaries:\n{printed}")
    print(f"docs/start.md: {len(blocks)} blocks pasted, {time.monotonic() - began:.0f} s: answer and summaries are there")


if __name__ == "__main__":
    main()
