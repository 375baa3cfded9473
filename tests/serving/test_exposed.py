"""A real service with keys: who has none gets nothing but the probes, and keys change without a restart."""

from pathlib import Path

import httpx

from tests.serving.running import QUICK, Running, running

STUDIO, BOT = "the-key-of-the-studio", "the-key-of-some-robot"
OPEN, PAGES = ("/livez", "/readyz"), ("/", "/docs", "/openapi.json", "/metrics", "/schema.json", "/model")


def key(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_keys_on_every_path_and_each_key_sees_its_own(bento: tuple[Path, str], tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"studio {STUDIO} 6000\nbot {BOT} 1\n")
    known = {"keys": str(file), "key_burst": "5", "allowed_origins": "https://listed.example", "drain_seconds": "0"}
    with running(*bento, **known) as service:
        assert {service.get(path).status_code for path in OPEN} == {200}
        assert {service.get(path).status_code for path in (*PAGES, "/nothing")} == {401}
        assert service.post("/generate", QUICK).json()["error"]["code"] == "key"
        assert service.post("/generate", QUICK, headers=key(STUDIO)).status_code == 200
        task = service.post("/generate/submit", QUICK, headers=key(STUDIO)).json()["task_id"]
        asked = {"params": {"task_id": task}}
        assert service.get("/generate/status", headers=key(STUDIO), **asked).status_code == 200
        assert service.get("/generate/status", headers=key(BOT), **asked).status_code == 404
        assert preflight(service).headers["access-control-allow-origin"] == "https://listed.example"
        limited = [service.get("/model", headers=key(BOT)) for _ in range(6)]
        assert limited[0].status_code == 200 and limited[-1].status_code == 429
        assert limited[-1].json()["error"]["code"] == "rate" and int(limited[-1].headers["retry-after"]) > 1
        file.write_text(f"studio {BOT}\n")
        assert service.get("/model", headers=key(STUDIO)).status_code == 401
        assert service.get("/model", headers=key(BOT)).status_code == 200
        log = service.log.read_text(encoding="utf-8")
        assert STUDIO not in log and BOT not in log and '"key": "studio"' in log


def preflight(service: Running) -> httpx.Response:
    """What a browser asks before a page of a listed site may send a key."""
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    origin = {"Origin": "https://listed.example", **asks}
    response = httpx.options(f"{service.url}/generate", headers=origin, timeout=30, trust_env=False)
    assert response.status_code == 200
    return response
