"""openapi.json is true: every answer of every operation, to good and to bad requests, is as declared."""

import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest

from tests.service import HOSTILE, JSON, Service
from tests.waiting import wait_until

NOBODY = "01890000-0000-7000-8000-000000000000"
PREFIX = "/api/v1"


class Api:
    """Sends requests, and checks each answer against the declaration of its operation."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.document: JSON = service.client.get(f"{service.url}/openapi.json").json()

    def operations(self) -> list[tuple[str, str]]:
        """(method, path) of all that is declared."""
        paths: dict[str, JSON] = self.document["paths"]
        return [(method.upper(), path) for path, methods in paths.items() for method in methods]

    def ask(self, method: str, path: str, *, expect: int, id_: str = NOBODY, **more: Any) -> Any:
        """Send a request; its answer must have the status and be as declared. Gives its JSON, or its text."""
        url = self.service.url + path.replace("{id}", id_).replace("{name}", id_)
        answer = self.service.client.request(method, url, **more)
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return self.check(method, path, answer)

    def check(self, method: str, path: str, answer: httpx.Response) -> Any:
        """Compare an answer with its declaration."""
        declared = self.document["paths"][path][method.lower()]["responses"]
        assert str(answer.status_code) in declared, (
            f"{method} {path} does not declare {answer.status_code}: {answer.text}"
        )
        content = declared[str(answer.status_code)].get("content", {})
        kind = answer.headers.get("content-type", "")
        if not content:
            assert answer.content == b"", f"{method} {path} declares no content for {answer.status_code}"
            return None
        plain = {name.partition(";")[0]: entry for name, entry in content.items()}
        assert kind.partition(";")[0] in plain, f"{method} {path}: {kind!r} is not declared, but {list(content)}"
        if not kind.partition(";")[0].endswith("json"):
            return answer.text
        self._validate(answer.json(), plain[kind.partition(";")[0]]["schema"])
        return answer.json()

    def _validate(self, value: object, schema: JSON) -> None:
        whole = {**schema, "components": self.document["components"]}
        jsonschema.Draft202012Validator(whole).validate(value)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The API of one service."""
    folder = tmp_path_factory.mktemp("openapi")
    (folder / "broken.py").write_text("1 / 0\n")
    (folder / "procdeck.toml").write_text('[commands.true]\nrun = ["true"]\n')
    service = Service(folder, [HOSTILE, folder / "broken.py"])
    try:
        service.start()
        yield Api(service)
    finally:
        service.close()


BODIES: dict[str, JSON] = {
    "/operations": {"action": "stop", "ids": [NOBODY]},
    "/preview": {"action": "stop", "search": "name:nobody"},
    "/views": {"name": "any", "query": "view=failed"},
    "/presets": {"target": "hostile:say", "name": "any", "typed": {"arg-text": "x"}},
    "/processes": {"target": "hostile:say"},
    "/processes/{id}/signal": {"signal": "SIGUSR1"},
}


def sound_body(path: str) -> JSON | None:
    """A body that the operation at this path takes, if it needs one."""
    return BODIES.get(path.removeprefix(PREFIX))


def test_the_document_is_sound(api: Api) -> None:
    assert api.document["openapi"].startswith("3.1")
    for schema in api.document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    names = [api.document["paths"][path][method.lower()]["operationId"] for method, path in api.operations()]
    assert len(names) == len(set(names))
    references = set(find_references(api.document))
    assert references <= {f"#/components/schemas/{name}" for name in api.document["components"]["schemas"]}


def find_references(node: object) -> Iterator[str]:
    """Every $ref below."""
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == "$ref" and isinstance(value, str))
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from find_references(child)


def test_the_contract_is_all_there(api: Api) -> None:
    calls = """GET /targets, GET /targets/{name}, POST /targets/reload, POST /processes, GET /processes,
        GET /processes/{id}, DELETE /processes/{id}, POST /processes/{id}/start, POST /processes/{id}/join,
        POST /processes/{id}/stop, POST /processes/{id}/terminate, POST /processes/{id}/kill,
        POST /processes/{id}/interrupt, POST /processes/{id}/signal, POST /processes/{id}/relaunch,
        GET /processes/{id}/transitions, GET /processes/{id}/log, GET /processes/{id}/log/stream, GET /events,
        POST /prune, GET /activity"""
    wanted = {(method, PREFIX + path) for method, path in (call.split() for call in calls.split(","))}
    assert wanted <= set(api.operations())


def test_answers_to_good_requests(api: Api) -> None:
    service = api.service
    api.ask("GET", f"{PREFIX}/targets", expect=200)
    told = api.ask("GET", f"{PREFIX}/service", expect=200)
    assert (told["pid"], told["url"]) == (service.pid, service.url)
    for name in ("hostile:say", "hostile:tick", "broken", "true"):
        api.ask("GET", f"{PREFIX}/targets/{{name}}", id_=name, expect=200)
    api.ask("POST", f"{PREFIX}/targets/reload", expect=200)
    key = {"Idempotency-Key": "openapi"}
    body = {"target": "hostile:steps", "labels": {"a": "b"}, "env": {"A": "b"}, "timeout": 60}
    process = api.ask("POST", f"{PREFIX}/processes", json=body, headers=key, expect=201)
    api.ask("POST", f"{PREFIX}/processes", json=body, headers=key, expect=200)
    api.ask("GET", f"{PREFIX}/processes/{{id}}", id_=process["id"], expect=200)
    joined = api.ask("POST", f"{PREFIX}/processes/{{id}}/join", id_=process["id"], params={"timeout": 20}, expect=200)
    assert joined["state"] == "exited"

    many = [service.launch(target) for target in ("hostile:leave", "hostile:odd_result", "hostile:segfault", "true")]
    many.append(service.launch("hostile:say", "hello", 3))
    many.append(service.launch("hostile:kill_parent"))
    for one in many:
        service.join(one)
    page = api.ask("GET", f"{PREFIX}/processes", params={"limit": 2}, expect=200)
    api.ask("GET", f"{PREFIX}/processes", params={"limit": 2, "cursor": page["next"]}, expect=200)
    for query in ({"state": ["exited", "lost"]}, {"outcome": "failed"}, {"label": "a=b"}, {"q": "say"}, {"name": "x"}):
        api.ask("GET", f"{PREFIX}/processes", params=query, expect=200)
    search = {"search": f"say -label:a target:say exit:3 arg:0=hello started:1h {many[4]['number']}"}
    found = api.ask("GET", f"{PREFIX}/processes", params=search, expect=200)
    assert ([each["id"] for each in found["items"]], found["searched_back_to"]) == ([many[4]["id"]], None)
    wrong = api.ask("GET", f"{PREFIX}/processes", params={"search": "say stat:failed"}, expect=422)
    assert wrong["errors"][0]["field"] == "search"
    assert "“stat:”" in wrong["detail"]
    for one in many:
        api.ask("GET", f"{PREFIX}/processes/{{id}}/transitions", id_=one["id"], expect=200)
        for form in ("text", "cri", "json"):
            api.ask("GET", f"{PREFIX}/processes/{{id}}/log", id_=one["id"], params={"format": form}, expect=200)
        api.ask("GET", f"{PREFIX}/processes/{{id}}/log/stream", id_=one["id"], expect=200)
    again = api.ask("POST", f"{PREFIX}/processes/{{id}}/relaunch", id_=many[0]["id"], expect=201)
    assert again["origin_id"] == many[0]["id"]
    service.join(again)
    api.ask("DELETE", f"{PREFIX}/processes/{{id}}", id_=again["id"], expect=204)
    api.ask("POST", f"{PREFIX}/prune", json={"keep_bytes": 1, "dry_run": True}, expect=200)
    api.ask("POST", f"{PREFIX}/prune", expect=422)
    done = api.ask("GET", f"{PREFIX}/activity", params={"limit": 3}, expect=200)
    assert done["items"][0]["action"] == "deleted"
    api.ask("GET", f"{PREFIX}/activity", params={"before": done["next"], "who": "everybody"}, expect=200)
    api.ask("GET", f"{PREFIX}/activity", params={"verb": "dances"}, expect=422)
    api.ask("POST", f"{PREFIX}/prune", json={"keep_per_target": 0}, expect=422)
    preset = api.ask("POST", f"{PREFIX}/presets", json=sound_body(f"{PREFIX}/presets"), expect=201)
    api.ask("POST", f"{PREFIX}/presets", json={"target": "no:such", "name": "any", "typed": {}}, expect=422)
    (kept,) = api.ask("GET", f"{PREFIX}/presets", params={"target": "hostile:say"}, expect=200)["items"]
    assert kept == preset
    api.ask("DELETE", f"{PREFIX}/presets/{{id}}", id_=preset["id"], expect=204)


def test_answers_of_actions(api: Api) -> None:
    for action in ("stop", "terminate", "kill", "interrupt"):
        process = api.ask("POST", f"{PREFIX}/processes", json={"target": "hostile:nap", "start": False}, expect=201)
        path = f"{PREFIX}/processes/{{id}}/{action}"
        api.ask("POST", path, id_=process["id"], expect=409)
        api.ask("POST", f"{PREFIX}/processes/{{id}}/start", id_=process["id"], expect=200)
        api.ask("POST", f"{PREFIX}/processes/{{id}}/start", id_=process["id"], expect=409)
        api.ask("DELETE", f"{PREFIX}/processes/{{id}}", id_=process["id"], expect=409)
        api.ask("POST", f"{PREFIX}/processes/{{id}}/signal", id_=process["id"], json={"signal": "SIGCONT"}, expect=200)
        api.ask("POST", path, id_=process["id"], json={"grace": 0, "reason": "a test", "tree": True}, expect=200)
        api.service.join(process)
        api.ask("POST", path, id_=process["id"], expect=409)


def test_answers_about_many(api: Api) -> None:
    made = [api.service.launch("hostile:say", start=False, name="one-of-many") for _ in range(3)]
    wanted = {"action": "delete", "search": "name:one-of-many"}
    seen = api.ask("POST", f"{PREFIX}/preview", json=wanted, expect=200)
    assert (seen["count"], {each["id"] for each in seen["processes"]}) == (3, {each["id"] for each in made})
    path = f"{PREFIX}/operations"
    api.ask("POST", path, json=wanted, expect=422)  # without the count
    api.ask("POST", path, json=wanted | {"ids": [NOBODY], "expected_count": 3}, expect=422)
    for search in ("name:nobody", "no:such"):
        body = {"action": "stop", "search": search, "expected_count": 0}
        api.ask("POST", path, json=body, expect=422)
    changed = api.ask("POST", path, json=wanted | {"expected_count": 2}, expect=409)
    assert changed["errors"] == [{"field": "expected_count", "message": "was 2, but it is 3 now"}]
    order = wanted | {"expected_count": 3, "as_of": seen["as_of"], "reason": "tidying"}
    key = {"Idempotency-Key": "many"}
    begun = api.ask("POST", path, json=order, headers=key, expect=202)
    assert api.ask("POST", path, json=order, headers=key, expect=200)["id"] == begun["id"]

    def now() -> Any:
        return api.ask("GET", f"{path}/{{id}}", id_=begun["id"], expect=200)

    wait_until(lambda: now()["state"] == "done", 20, "the operation does not end")
    assert (now()["done"], now()["failures"], now()["remaining"]) == (3, 0, 0)
    api.ask("POST", f"{path}/{{id}}/cancel", id_=begun["id"], expect=200)
    assert api.ask("GET", path, expect=200)["items"][0]["id"] == begun["id"]
    view = api.ask("POST", f"{PREFIX}/views", json=sound_body(f"{PREFIX}/views"), expect=201)
    assert api.ask("GET", f"{PREFIX}/views", expect=200)["items"] == [view]
    api.ask("DELETE", f"{PREFIX}/views/{{id}}", id_=view["id"], expect=204)


def test_answers_to_requests_for_what_there_is_not(api: Api) -> None:
    for method, path in api.operations():
        if "{" in path:
            api.ask(method, path, json=sound_body(path), expect=404)


def test_answers_at_the_door(api: Api) -> None:
    stranger = httpx.Client(base_url=api.service.url)
    with stranger:
        for method, path in api.operations():
            real = path.replace("{id}", NOBODY).replace("{name}", "hostile:say")
            body = sound_body(path)
            nameless = stranger.request(method, real, json=body)
            assert nameless.status_code == 401
            api.check(method, path, nameless)
            token = {"Authorization": f"Bearer {api.service.token}"}
            misdirected = stranger.request(method, real, json=body, headers={**token, "Host": "evil.example"})
            assert misdirected.status_code == 421
            api.check(method, path, misdirected)
            foreign = {"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example", "Cookie": "a=b"}
            refused = stranger.request(method, real, json=body, headers=foreign)
            assert refused.status_code in (401, 403)
            api.check(method, path, refused)


def test_answers_to_bodies_of_every_kind(api: Api) -> None:
    """Whatever is sent to whatever operation: the answer is declared, and never a failure of ours."""
    kinds = ["application/json", "text/plain", "application/x-www-form-urlencoded"]
    bodies = [b"", b"{", b"[]", b"null", b"{}", b'{"a": NaN}', b'{"no_such_field": 1}', b"\xff", b"x" * 2_000_000]
    for (method, path), kind, body in itertools.product(api.operations(), kinds, bodies):
        if method == "GET" and path.endswith(("/events", "/log/stream")):
            continue  # they take no body, and go on for ever
        url = api.service.url + path.replace("{id}", NOBODY).replace("{name}", "hostile:say")
        try:
            answer = api.service.client.request(method, url, content=body, headers={"Content-Type": kind})
        except httpx.WriteError:
            continue  # refused before all of the body was sent
        assert answer.status_code < 500, f"{method} {path} {kind} {body[:20]!r}: {answer.text}"
        api.check(method, path, answer)


def test_answers_to_bad_parameters(api: Api) -> None:
    process = api.service.join(api.service.launch("hostile:say"))
    values = ["", "-1", "x", "1.5", "nan", "9" * 30, "\0", "\ud7ff", "a" * 600]
    for method, path in api.operations():
        for parameter in api.document["paths"][path][method.lower()].get("parameters", ()):
            if parameter["in"] == "path" or path.endswith(("/events", "/relaunch")):
                continue
            for value in values:
                if parameter["in"] == "header":
                    if not value.isprintable() or not value.isascii():
                        continue
                    more: JSON = {"headers": {parameter["name"]: value}}
                else:
                    more = {"params": {parameter["name"]: value}}
                url = api.service.url + path.replace("{id}", process["id"]).replace("{name}", "hostile:say")
                answer = api.service.client.request(method, url, json=sound_body(path), **more)
                assert answer.status_code < 500, f"{method} {path} {parameter['name']}={value!r}: {answer.text}"
                api.check(method, path, answer)


def test_answers_to_other_methods(api: Api) -> None:
    """What is not declared is 405, and says what is possible."""
    for path in api.document["paths"]:
        declared = {method for method, at in api.operations() if at == path}
        url = api.service.url + path.replace("{id}", NOBODY).replace("{name}", "hostile:say")
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - declared:
            answer = api.service.client.request(method, url)
            if path.endswith("/targets/reload") and method == "GET":
                continue  # GET /targets/{name}
            assert answer.status_code == 405, f"{method} {path}: {answer.status_code}"
            assert answer.headers["content-type"] == "application/problem+json"
            assert declared <= {name.strip() for name in answer.headers["allow"].split(",")}
