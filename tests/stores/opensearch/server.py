"""A loopback server that answers official clients as OpenSearch or Elasticsearch would, and refuses what they refuse.

It is a double: it was written after the public documentation and the REST specifications, and keeps its indexes in
memory. It shows that the store sends requests that the clients and the documented interface accept, that it bears
their errors, and that a migration over these requests is right. It says nothing of what a real server does otherwise.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from tests.stores.opensearch.index import Document, Index, RefusalError, bad

MINUTES = 60


class SearchDouble:
    """The state of a server.

    Args:
        product: ``opensearch`` or ``elasticsearch``.
        version: As two numbers.

    Attributes:
        indexes: By name.
        seconds: The time that has passed, for points in time.
        largest: Most bytes of a request.
        failures: Statuses of the next requests, which fail.
        rejected: How many operations of bulk requests are rejected as too many.
        log: Method and path of each request.
    """

    def __init__(self, product: str, version: tuple[int, int]) -> None:
        self.product, self.version = product, version
        self.indexes: dict[str, Index] = {}
        self.templates: dict[str, dict[str, Any]] = {}
        self.pipelines: dict[str, dict[str, Any]] = {}
        self.points: dict[str, tuple[list[Document], str, float]] = {}
        self.seconds, self.largest, self.rejected = 0.0, 100 << 20, 0
        self.failures: list[int] = []
        self.log: list[str] = []
        self.password: str | None = None
        self.creates_missing = True
        self.forbidden: tuple[str, ...] = ()
        self.lock = threading.RLock()
        self._numbers = itertools.count()
        self.address = ""

    def resolve(self, name: str) -> list[Index]:
        if name in self.indexes:
            return [self.indexes[name]]
        return [index for index in self.indexes.values() if name in index.aliases]

    def one(self, name: str) -> Index:
        indexes = self.resolve(name)
        if not indexes:
            raise RefusalError(404, "index_not_found_exception", f"no such index [{name}]")
        if len(indexes) > 1:
            writers = [index for index in indexes if index.aliases[name].get("is_write_index")]
            if len(writers) != 1:
                raise bad(f"alias [{name}] has more than one index associated with it, can't execute a single index op")
            return writers[0]
        return indexes[0]

    # Requests, each with the parameters that it takes.

    def info(self, _: dict[str, str], __: Any) -> Any:
        distribution = {"distribution": "opensearch"} if self.product == "opensearch" else {}
        return {"name": "double", "version": {"number": ".".join(map(str, (*self.version, 0))), **distribution}}

    def get_index(self, parameters: dict[str, str], _: Any, name: str) -> Any:
        indexes = self.resolve(name) or [self.one(name)]
        if parameters.get("flat_settings") != "true":
            raise NotImplementedError("the double tells settings in flat form only")
        return {index.name: index.described for index in indexes}

    def create(self, _: dict[str, str], body: Any, name: str) -> Any:
        if name in self.indexes:
            raise bad(f"index [{name}] already exists", "resource_already_exists_exception")
        if self.resolve(name):
            raise bad(f"Invalid index name [{name}], already exists as alias", "invalid_index_name_exception")
        if unknown := body.keys() - {"mappings", "settings", "aliases"}:
            raise bad(f"unknown key {sorted(unknown)} for create index", "parse_exception")
        settings = flat(body.get("settings", {}))
        index = Index(name, self.product, self.version, copy.deepcopy(body.get("mappings", {})), settings)
        self.indexes[name] = index
        for alias in {**self.template_of(name).get("aliases", {}), **body.get("aliases", {})}:
            self.add_alias(index.name, alias, {})
        return {"acknowledged": True, "shards_acknowledged": True, "index": name}

    def put_template(self, _: dict[str, str], body: Any, name: str) -> Any:
        self.templates[name] = body
        return {"acknowledged": True}

    def template_of(self, name: str) -> dict[str, Any]:
        for template in self.templates.values():
            if any(fnmatch(name, pattern) for pattern in template["index_patterns"]):
                return dict(template["template"])
        return {}

    def simulate(self, _: dict[str, str], __: Any, name: str) -> Any:
        return {
            "template": {"settings": {}, "mappings": {}, "aliases": {}, **self.template_of(name)},
            "overlapping": [],
        }

    def delete_index(self, _: dict[str, str], __: Any, name: str) -> Any:
        if name not in self.indexes and self.resolve(name):
            raise bad(f"The provided expression [{name}] matches an alias, specify the corresponding concrete indices")
        self.one(name)
        del self.indexes[name]
        return {"acknowledged": True}

    def clone(self, _: dict[str, str], body: Any, name: str, target: str) -> Any:
        index = self.one(name)
        if index.settings.get("index.blocks.write") != "true":
            raise RefusalError(500, "illegal_state_exception", f"index {name} must be read-only to resize index")
        if target in self.indexes:
            raise bad(f"index [{target}] already exists", "resource_already_exists_exception")
        settings = {**index.settings, **flat((body or {}).get("settings", {}))}
        settings = {key: value for key, value in settings.items() if value is not None}
        clone = Index(target, self.product, self.version, copy.deepcopy(index.mappings), settings)
        clone.documents, clone.numbers = copy.deepcopy(index.documents), dict(index.numbers)
        clone.versions = dict(index.versions)
        clone.refresh()
        self.indexes[target] = clone
        return {"acknowledged": True, "shards_acknowledged": True, "index": target}

    def put_settings(self, _: dict[str, str], body: Any, name: str) -> Any:
        index = self.one(name)
        for key, value in flat(body).items():
            if key in ("index.number_of_shards", "index.knn"):
                raise bad(f"Can't update non dynamic settings [[{key}]] for open indices")
            if value is None:
                index.settings.pop(key, None)
            else:
                index.settings[key] = value
        return {"acknowledged": True}

    def get_mapping(self, _: dict[str, str], __: Any, name: str) -> Any:
        return {index.name: {"mappings": index.mappings} for index in self.resolve(name) or [self.one(name)]}

    def put_mapping(self, _: dict[str, str], body: Any, name: str) -> Any:
        self.one(name).merge(body)
        return {"acknowledged": True}

    def get_aliases(self, _: dict[str, str], __: Any, name: str) -> Any:
        return {index.name: {"aliases": index.aliases} for index in self.resolve(name) or [self.one(name)]}

    def get_alias(self, _: dict[str, str], __: Any, alias: str) -> Any:
        indexes = [index for index in self.indexes.values() if alias in index.aliases]
        if not indexes:
            raise RefusalError(404, "alias_not_found_exception", f"alias [{alias}] missing")
        return {index.name: {"aliases": {alias: index.aliases[alias]}} for index in indexes}

    def update_aliases(self, _: dict[str, str], body: Any) -> Any:
        copies = {name: copy.copy(index) for name, index in self.indexes.items()}
        for index in copies.values():
            index.aliases = dict(index.aliases)
        try:
            leaving = [part["remove_index"]["index"] for part in body["actions"] if "remove_index" in part]
            for action in body["actions"]:
                ((verb, options),) = action.items()
                options = dict(options)
                name = options.pop("index")
                if verb == "add":
                    self.add_alias(name, options.pop("alias"), options, leaving)
                elif verb == "remove":
                    index, alias = self.one(name), options.pop("alias")
                    if alias not in index.aliases:
                        raise RefusalError(404, "aliases_not_found_exception", f"aliases [{alias}] missing")
                    del index.aliases[alias]
                elif verb != "remove_index":
                    raise bad(f"[aliases] unknown field [{verb}]", "x_content_parse_exception")
            for name in leaving:
                self.delete_index({}, None, name)
        except RefusalError:
            self.indexes = copies
            raise
        return {"acknowledged": True}

    def add_alias(self, name: str, alias: str, options: dict[str, Any], leaving: list[str] | None = None) -> None:
        known = {"filter", "index_routing", "search_routing", "routing", "is_write_index", "is_hidden"}
        if unknown := options.keys() - known:
            raise bad(f"[add] unknown field {sorted(unknown)}", "x_content_parse_exception")
        if alias in self.indexes and alias not in (leaving or []):
            reason = f"Invalid alias name [{alias}]: an index or data stream exists with the same name as the alias"
            raise bad(reason, "invalid_alias_name_exception")
        self.one(name).aliases[alias] = options

    def refresh(self, _: dict[str, str], __: Any, name: str) -> Any:
        for index in self.resolve(name) or [self.one(name)]:
            index.refresh()
        return {"_shards": {"total": 1, "successful": 1, "failed": 0}}

    def count(self, _: dict[str, str], body: Any, name: str) -> Any:
        documents = [part for index in self.resolve(name) or [self.one(name)] for part in index.searchable]
        number = sum(meets(document, (body or {}).get("query", {"match_all": {}})) for document in documents)
        return {"count": number, "_shards": {"total": 1, "successful": 1, "failed": 0}}

    def mget(self, parameters: dict[str, str], body: Any, name: str) -> Any:
        index = self.one(name)
        source: dict[str, Any] = {}
        if "_source_includes" in parameters:
            source["includes"] = parameters["_source_includes"].split(",")
        if "_source_exclude_vectors" in parameters:
            source["exclude_vectors"] = parameters["_source_exclude_vectors"] == "true"
        answers = []
        for entry in body["docs"]:
            if unknown := entry.keys() - {"_id", "_index", "routing", "_source"}:
                raise bad(f"Unknown key {sorted(unknown)} in a multi get request")
            try:
                document = index.find(entry["_id"], entry.get("routing"))
            except RefusalError as refusal:
                answers.append({"_index": index.name, "_id": entry["_id"], "error": refusal.error()})
                continue
            if document is None:
                answers.append({"_index": index.name, "_id": entry["_id"], "found": False})
                continue
            numbers = {"_version": document.version, "_seq_no": document.seq_no, "_primary_term": 1, "found": True}
            answers.append(
                {**document.hit(index.name), **numbers, **index.shown(document, entry.get("_source", source))}
            )
        return {"docs": answers}

    def bulk(self, parameters: dict[str, str], body: Any, name: str | None = None) -> Any:
        items = []
        lines = iter(body)
        for line in lines:
            ((verb, options),) = line.items()
            if verb not in ("index", "create", "delete", "update"):
                raise bad(f"Malformed action/metadata line, found [{verb}]")
            if unknown := options.keys() - {
                "_index",
                "_id",
                "routing",
                "if_seq_no",
                "if_primary_term",
                "require_alias",
            }:
                raise bad(f"Action/metadata line contains an unknown parameter {sorted(unknown)}")
            source = next(lines) if verb != "delete" else None
            target = options.get("_index", name)
            answer: dict[str, Any] = {"_index": target, "_id": options["_id"]}
            try:
                if self.rejected > 0:
                    self.rejected -= 1
                    raise RefusalError(
                        429, "es_rejected_execution_exception", "rejected execution of coordinating operation"
                    )
                if not self.resolve(target):
                    if not self.creates_missing:
                        raise RefusalError(404, "index_not_found_exception", f"no such index [{target}]")
                    self.create({}, {}, target)
                answer["status"] = self.operate(verb, self.one(target), options, source, parameters)
            except RefusalError as refusal:
                answer |= {"status": refusal.status, "error": refusal.error()}
            items.append({verb: answer})
        if parameters.get("refresh") in ("true", "wait_for", ""):
            for index in self.indexes.values():
                index.refresh()
        return {"took": 1, "errors": any("error" in next(iter(item.values())) for item in items), "items": items}

    def operate(self, verb: str, index: Index, options: Any, source: Any, parameters: dict[str, str]) -> int:
        identifier, routing = options["_id"], options.get("routing")
        if len(identifier.encode()) > 512:
            raise bad("id is too long, must be no longer than 512 bytes", "action_request_validation_exception")
        if verb == "delete":
            return index.delete(identifier, routing, options)
        if verb == "update":
            present = index.find(identifier, routing)
            if present is None:
                raise RefusalError(404, "document_missing_exception", f"[{identifier}]: document missing")
            return index.put(identifier, routing, merged(present.source, source["doc"]), options)
        first = parameters.get("pipeline", index.settings.get("index.default_pipeline", "_none"))
        for pipeline in (first, index.settings.get("index.final_pipeline", "_none")):
            source = self.ingested(pipeline, source)
        return index.put(identifier, routing, source, {**options, "create": verb == "create"})

    def ingested(self, name: str, source: dict[str, Any]) -> dict[str, Any]:
        if name == "_none":
            return source
        if name not in self.pipelines:
            raise bad(f"pipeline with id [{name}] does not exist")
        for processor in self.pipelines[name]["processors"]:
            for kind, options in processor.items():
                field, value = (options["field"], options["value"]) if kind == "set" else ("v", options["vector"])
                source = {**source, field: value}
        return source

    def put_pipeline(self, _: dict[str, str], body: Any, name: str) -> Any:
        self.pipelines[name] = body
        return {"acknowledged": True}

    def get_pipeline(self, _: dict[str, str], __: Any, name: str) -> Any:
        if name not in self.pipelines:
            raise RefusalError(404, "resource_not_found_exception", f"pipeline [{name}] is missing")
        return {name: self.pipelines[name]}

    def open_point(self, parameters: dict[str, str], _: Any, name: str) -> Any:
        index = self.one(name)
        documents = index.searchable
        if preference := parameters.get("preference"):
            shard = int(preference.removeprefix("_shards:"))
            documents = [document for document in documents if document.shard == shard]
        identifier = f"point {next(self._numbers)}"
        self.points[identifier] = ([copy.copy(part) for part in documents], index.name, self.deadline(parameters))
        return {"id" if self.product == "elasticsearch" else "pit_id": identifier, "_shards": {"failed": 0}}

    def deadline(self, parameters: dict[str, str]) -> float:
        if "keep_alive" not in parameters:
            raise bad("[keep_alive] is not specified", "action_request_validation_exception")
        return self.seconds + int(parameters["keep_alive"].removesuffix("m")) * MINUTES

    def close_point(self, _: dict[str, str], body: Any) -> Any:
        known = [body["id"]] if self.product == "elasticsearch" else body["pit_id"]
        for identifier in known:
            if self.points.pop(identifier, None) is None:
                raise RefusalError(404, "search_context_missing_exception", "No search context found for id")
        return {"succeeded": True}

    def search(self, _: dict[str, str], body: Any, name: str | None = None) -> Any:
        known = {"size", "query", "sort", "_source", "track_total_hits", "pit", "search_after", "knn", "fields"}
        if unknown := body.keys() - (known if self.product == "elasticsearch" else known - {"knn"}):
            raise bad(f"unknown key {sorted(unknown)} in a search request", "parsing_exception")
        size = body.get("size", 10)
        if size > 10_000:
            raise bad("Result window is too large, from + size must be less than or equal to: [10000]")
        if "pit" in body:
            if name is not None:
                raise bad("[indices] cannot be used with point in time", "action_request_validation_exception")
            identifier = body["pit"]["id"]
            documents, name, deadline = self.points.get(identifier, ([], "", -1.0))
            if deadline < self.seconds:
                raise RefusalError(
                    404, "search_context_missing_exception", f"No search context found for id [{identifier}]"
                )
            self.points[identifier] = (documents, name, self.deadline(body["pit"]))
            index = self.indexes[name]
        else:
            index = self.one(str(name))
            documents = index.searchable
        scores: dict[int, float] = {}
        query = body.get("query", {"match_all": {}})
        if "knn" in body or "knn" in query:
            documents, scores = nearest(index, documents, body.get("knn") or query["knn"])
            query = {"match_all": {}}
        order = [self.sort_key(part, "pit" in body) for part in body.get("sort", [])]
        hits = []
        for document in sorted(
            (part for part in documents if meets(part, query)), key=lambda part: -scores.get(id(part), 0)
        ):
            hit = {
                **document.hit(index.name),
                "_score": scores.get(id(document)),
                **index.shown(document, body.get("_source")),
            }
            hits.append((tuple(key(document) for key in order), hit))
        if order:
            hits.sort(key=lambda entry: entry[0])
        if "search_after" in body:
            if len(body["search_after"]) != len(order):
                raise bad("search_after has another number of values than sort")
            hits = [entry for entry in hits if entry[0] > tuple(body["search_after"])]
        listed = [{**hit, **({"sort": list(values)} if order else {})} for values, hit in hits[:size]]
        pit = {"pit_id": body["pit"]["id"]} if "pit" in body else {}
        return {"took": 1, "timed_out": False, "_shards": {"failed": 0}, "hits": {"hits": listed}, **pit}

    def sort_key(self, part: Any, in_point: bool) -> Callable[[Document], Any]:
        ((name, _),) = part.items()
        if name == "_seq_no":
            return lambda document: document.seq_no
        if name == "_shard_doc" and in_point and (self.product == "elasticsearch" or self.version >= (3, 3)):
            return lambda document: (document.shard << 32) + document.seq_no
        raise bad(f"No mapping found for [{name}] in order to sort on")

    def routes(self) -> list[tuple[str, str, Callable[..., Any], set[str]]]:
        hidden = {"_source_exclude_vectors"} if self.product == "elasticsearch" and self.version >= (9, 2) else set()
        routes: list[tuple[str, str, Callable[..., Any], set[str]]] = [
            ("GET", "/", self.info, set()),
            ("POST", "/_aliases", self.update_aliases, {"timeout"}),
            ("POST", "/_search", self.search, {"allow_partial_search_results"}),
            ("POST", "/_bulk", self.bulk, {"pipeline", "refresh", "require_alias", "timeout"}),
            ("GET", "/_alias/{}", self.get_alias, set()),
            ("GET", "/_ingest/pipeline/{}", self.get_pipeline, set()),
            ("PUT", "/_ingest/pipeline/{}", self.put_pipeline, set()),
            *(
                (verb, "/{}/_bulk", self.bulk, {"pipeline", "refresh", "require_alias", "timeout"})
                for verb in ("POST", "PUT")
            ),
            ("POST", "/{}/_mget", self.mget, {"realtime", "_source_includes", "_source_excludes", *hidden}),
            ("POST", "/{}/_refresh", self.refresh, set()),
            ("POST", "/{}/_count", self.count, set()),
            ("POST", "/{}/_search", self.search, {"allow_partial_search_results"}),
            ("POST", "/_index_template/_simulate_index/{}", self.simulate, set()),
            ("PUT", "/_index_template/{}", self.put_template, set()),
            ("GET", "/{}/_mapping", self.get_mapping, set()),
            ("PUT", "/{}/_mapping", self.put_mapping, {"timeout"}),
            ("PUT", "/{}/_settings", self.put_settings, {"timeout"}),
            ("GET", "/{}/_alias", self.get_aliases, set()),
            ("PUT", "/{}/_clone/{}", self.clone, {"timeout", "wait_for_active_shards"}),
            ("GET", "/{}", self.get_index, {"flat_settings"}),
            ("PUT", "/{}", self.create, {"timeout", "wait_for_active_shards"}),
            ("DELETE", "/{}", self.delete_index, {"timeout"}),
        ]
        if self.product == "elasticsearch":
            routes.append(("POST", "/{}/_pit", self.open_point, {"keep_alive", "preference"}))
            routes.append(("DELETE", "/_pit", self.close_point, set()))
        else:
            known = {"keep_alive", "preference", "allow_partial_pit_creation"}
            routes.append(("POST", "/{}/_search/point_in_time", self.open_point, known))
            routes.append(("DELETE", "/_search/point_in_time", self.close_point, set()))
        return routes

    def answer(self, method: str, target: str, content: bytes) -> Any:
        """Answer a request, or raise a RefusalError."""
        parts = urlsplit(target)
        self.log.append(f"{method} {unquote(parts.path)}")
        if self.forbidden and parts.path.startswith(self.forbidden):
            raise RefusalError(403, "security_exception", "no permissions for this action")
        if self.failures:
            raise RefusalError(self.failures.pop(0), "unavailable", "not now")
        if len(content) > self.largest:
            raise RefusalError(413, "too_large", f"the request has more than {self.largest} bytes")
        parameters = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        for known, path, action, accepted in self.routes():
            match = re.fullmatch(path.replace("{}", r"([^_/][^/]*|\.[^/]*)"), parts.path)
            if known != method or match is None:
                continue
            if unknown := parameters.keys() - accepted:
                raise bad(f"request [{parts.path}] contains unrecognized parameter: {sorted(unknown)}")
            body = [json.loads(line) for line in content.splitlines()] if path.endswith("_bulk") else None
            if body is not None and not content.endswith(b"\n"):
                raise bad("The bulk request must be terminated by a newline [\\n]")
            if body is None and content:
                body = json.loads(content)
            return action(parameters, body, *map(unquote, match.groups()))
        raise RefusalError(
            405, "method_not_allowed", f"Incorrect HTTP method for uri [{parts.path}] and method [{method}]"
        )


def flat(settings: dict[str, Any], prefix: str = "index.") -> dict[str, Any]:
    """Return settings in flat form, with texts as values."""
    entries: dict[str, Any] = {}
    for name, value in settings.items():
        name = name if name == "index" or name.startswith("index.") else prefix + name
        if isinstance(value, dict):
            entries |= flat(value, f"{name}.")
        else:
            entries[name] = value if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return entries


def merged(source: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Return a document after a partial update: objects are merged, everything else is replaced."""
    result = dict(source)
    for name, value in change.items():
        nested = isinstance(value, dict) and isinstance(result.get(name), dict)
        result[name] = merged(result[name], value) if nested else value
    return result


def value_of(document: Document, name: str) -> Any:
    value: Any = document.source
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def meets(document: Document, query: dict[str, Any]) -> bool:
    """Return whether a document meets a query."""
    ((kind, options),) = query.items()
    if kind == "match_all":
        return True
    if kind == "exists":
        return value_of(document, options["field"]) is not None
    if kind == "ids":
        return document.identifier in options["values"]
    if kind == "term":
        ((name, value),) = options.items()
        return bool(value_of(document, name) == value)
    if kind == "bool":
        if unknown := options.keys() - {"filter", "must", "must_not"}:
            raise bad(f"[bool] query does not support {sorted(unknown)}", "parsing_exception")
        required = [*options.get("filter", []), *options.get("must", [])]
        return all(meets(document, part) for part in required) and not any(
            meets(document, part) for part in options.get("must_not", [])
        )
    raise bad(f"unknown query [{kind}]", "parsing_exception")


def nearest(index: Index, documents: list[Document], query: dict[str, Any]) -> tuple[list[Document], dict[int, float]]:
    """Return the nearest documents with their scores, by the formulas of the documentation."""
    if index.product == "opensearch":
        ((name, options),) = query.items()
        vector, k = np.array(options["vector"]), options["k"]
    else:
        name, vector, k = query["field"], np.array(query["query_vector"]), query["k"]
    definition = next(definition for path, definition in index.vectors() if ".".join(path) == name)
    metric = index.metric(definition)
    scores: dict[int, float] = {}
    for document in documents:
        if (value := value_of(document, name)) is None:
            continue
        other = np.array(value)
        if len(other) != len(vector):
            raise bad(
                f"the query vector has a different dimension [{len(vector)}] than the index vectors [{len(other)}]"
            )
        dot, squared = float(other @ vector), float(((other - vector) ** 2).sum())
        lengths = float(np.linalg.norm(other) * np.linalg.norm(vector)) or 1.0
        scores[id(document)] = {
            "cosine": (1 + dot / lengths) / 2,
            "cosinesimil": (1 + dot / lengths) / 2,
            "dot_product": (1 + dot) / 2,
            "max_inner_product": dot + 1 if dot >= 0 else 1 / (1 - dot),
            "innerproduct": dot + 1 if dot >= 0 else 1 / (1 - dot),
            "l2": 1 / (1 + squared),
            "l2_norm": 1 / (1 + squared),
        }[str(metric)]
    ranked = sorted((part for part in documents if id(part) in scores), key=lambda part: -scores[id(part)])
    return ranked[:k], scores


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    double: ClassVar[SearchDouble]

    def reply(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            self.check_headers(bool(content))
            with self.double.lock:
                status, answer = 200, self.double.answer(self.command, self.path, content)
                text = json.dumps(answer).encode()
        except RefusalError as refusal:
            status = refusal.status
            error = {**refusal.error(), "root_cause": [refusal.error()]}
            text = json.dumps({"error": error, "status": status}).encode()
        self.send_response(status)
        kind = "application/json"
        if self.double.product == "elasticsearch":
            self.send_header("X-Elastic-Product", "Elasticsearch")
            if "compatible-with" in self.headers.get("accept", ""):
                kind = f"application/vnd.elasticsearch+json;compatible-with={self.double.version[0]}"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def check_headers(self, has_content: bool) -> None:
        if self.double.password is not None and self.headers.get("authorization") != self.double.password:
            raise RefusalError(401, "security_exception", "missing authentication credentials for REST request")
        for name in ("accept", "content-type"):
            compatible = re.search(r"compatible-with=(\d+)", self.headers.get(name, ""))
            if compatible and self.double.product == "opensearch" and name == "content-type":
                reason = f"Content-Type header [{self.headers[name]}] is not supported"
                raise RefusalError(406, "media_type_header_exception", reason)
            versions = (self.double.version[0], self.double.version[0] - 1)
            if compatible and self.double.product == "elasticsearch" and int(compatible[1]) not in versions:
                raise bad(f"{name} version must be one of {versions}", "media_type_header_exception")
        if has_content and "json" not in self.headers.get("content-type", ""):
            raise RefusalError(406, "status_exception", "Content-Type header is missing or not supported")

    do_GET = do_POST = do_PUT = do_DELETE = reply  # noqa: N815 - names of http.server

    def log_message(self, *_: Any) -> None:
        return


@contextmanager
def running(product: str, version: tuple[int, int]) -> Iterator[SearchDouble]:
    """Run a server until the end of the block."""
    double = SearchDouble(product, version)
    handler = type("Handler", (Handler,), {"double": double})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        double.address = f"http://127.0.0.1:{server.server_port}"
        try:
            yield double
        finally:
            server.shutdown()
            thread.join()
