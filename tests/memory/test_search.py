"""Searching memories: by meaning, by words, both; what a filter, an index and a missing vector do to it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.db.models.functions import Now

from memory import embedding, search, spaces, statements, trigrams, upkeep
from memory.embedding import Taken
from memory.models import Memory, Space, Vector
from memory.requests import Search
from memory.search import Found, Match
from tests.apiclient import READER, Api
from tests.bench.plans import captured
from tests.memory.conftest import UPKEEP, Remember, let_pass, run_jobs
from tests.modelserver import ModelServer, Refusal

pytestmark = pytest.mark.django_db(transaction=True)

FACTS = {
    "deploy": "Production is deployed on Tuesdays before noon.",
    "invoice": "Invoices are sent to customers at the end of each month.",
    "pet": "The office dog is called Rusty and likes carrots.",
    "backup": "Database backups run every night and are kept for thirty days.",
}
SEARCH = "/v1/memory/search"


@pytest.fixture
def facts(remember: Remember) -> dict[str, Memory]:
    made = {key: remember({"text": text}, key=f"fact.{key}", tags=[key, "fact"]) for key, text in FACTS.items()}
    run_jobs()
    return made


def keys(answer: Any) -> list[str]:
    assert answer.status == 200, answer.text
    return [match["memory"]["key"].removeprefix("fact.") for match in answer.json["matches"]]


def ask(query: str, **fields: Any) -> dict[str, Any]:
    return {"scope": "notes", "query": query, **fields}


# By meaning


def test_what_means_the_same_is_found_first(api: Api, facts: dict[str, Memory]) -> None:
    answer = api.post(SEARCH, ask("When do we release to prod?", top_k=3))

    assert keys(answer)[0] == "deploy"
    assert answer.json["count"] == 3
    for match in answer.json["matches"]:
        assert match.keys() == {"memory", "score", "distance"}
        assert match["score"] == round(1 / (1 + match["distance"]), 6)
    distances = [match["distance"] for match in answer.json["matches"]]
    assert distances == sorted(distances)
    beside = {name: answer.json[name] for name in ("mode", "model", "building", "pending", "failed", "vector_error")}
    assert beside == {
        "mode": "vector", "model": "all-MiniLM-L6-v2", "building": None, "pending": 0, "failed": 0,
        "vector_error": None,
    }  # fmt: skip
    assert keys(api.post(SEARCH, ask("Which animals live here?"), key=READER))[0] == "pet"


def test_the_switch_comes_before_everything(api: Api, facts: dict[str, Memory], configure: Callable[..., Any]) -> None:
    configure(MEMORY_VECTOR_ENABLED=0)

    answer = api.post(SEARCH, {})

    assert (answer.status, answer.code) == (503, "VECTOR_NOT_ENABLED")
    assert answer.json["error"]["details"] is None
    assert keys(api.post(SEARCH, ask("dog", mode="text"))) == ["pet"]
    hybrid = api.post(SEARCH, ask("dog", mode="hybrid"))
    assert (keys(hybrid), hybrid.json["vector_error"]["code"]) == (["pet"], "VECTOR_NOT_ENABLED")


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"scope": "x"}, "scope"), ({"scope": None}, "scope"), ({"query": " "}, "query"), ({"query": 5}, "query"),
        ({"query": None}, "query"), ({"top_k": 0}, "top_k"), ({"top_k": 101}, "top_k"), ({"top_k": "5"}, "top_k"),
        ({"top_k": 1.5}, "top_k"), ({"mode": "magic"}, "mode"), ({"tags": "a"}, "tags"), ({"since": "soon"}, "since"),
        ({"strict": "yes"}, "strict"),
    ],
    ids=str,
)  # fmt: skip
def test_a_bad_field_is_named(api: Api, fields: dict[str, Any], path: str) -> None:
    answer = api.post(SEARCH, {**ask("x"), **fields})

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert answer.json["error"]["details"]["errors"][0]["path"] == path


def test_an_empty_scope_has_no_matches_and_the_query_is_embedded_all_the_same(api: Api, by_ollama: ModelServer) -> None:
    assert api.post(SEARCH, ask("x")).json["matches"] == []
    assert len(by_ollama.calls) == 1
    by_ollama.answer_embeddings(Refusal(500))
    assert api.post(SEARCH, ask("x")).code == "MEMORY_EMBED_HTTP"


def test_pending_rows_are_counted_and_block_only_the_strict(
    api: Api, facts: dict[str, Memory], remember: Remember, configure: Callable[..., Any]
) -> None:
    remember("not embedded yet")
    query = ask("When do we release?")

    answer = api.post(SEARCH, query)
    strict = api.post(SEARCH, {**query, "strict": True})

    assert (keys(answer)[0], answer.json["pending"]) == ("deploy", 1)
    assert (strict.status, strict.code) == (503, "MEMORY_EMBEDDING_UNAVAILABLE")
    assert strict.json["error"]["details"] == {
        "scope": "notes", "pending_count": 1, "failed_count": 0, "missing_vector_count": 1,
    }  # fmt: skip
    assert api.post(SEARCH, {**query, "strict": True, "mode": "hybrid"}).code == "MEMORY_EMBEDDING_UNAVAILABLE"
    assert api.post(SEARCH, {**query, "scope": "other", "strict": True}).status == 200
    configure(MEMORY_SEARCH_STRICT=1)
    assert api.post(SEARCH, query).code == "MEMORY_EMBEDDING_UNAVAILABLE"
    assert api.post(SEARCH, {**query, "strict": False}).status == 200
    run_jobs()
    assert api.post(SEARCH, query).status == 200


def test_a_changed_memory_is_not_found_by_what_it_said_before(
    api: Api, facts: dict[str, Memory], remember: Remember
) -> None:
    remember({"text": "Nothing of that kind"}, key="fact.deploy")

    assert "deploy" not in keys(api.post(SEARCH, ask("When do we release to prod?")))


def test_expired_memories_are_found_only_by_those_who_ask(
    api: Api, facts: dict[str, Memory], remember: Remember
) -> None:
    remember({"text": "The release is on Friday this time."}, key="fact.exception", ttl_sec=60)
    run_jobs()
    let_pass(61)
    query = ask("When is the release?")

    assert "exception" not in keys(api.post(SEARCH, query))
    assert keys(api.post(SEARCH, {**query, "include_expired": True}))[0] == "exception"
    assert keys(api.post(SEARCH, {**query, "include_expired": "1"}))[0] == "exception"
    assert "exception" not in keys(api.post(SEARCH, {**query, "include_expired": "true"}))
    assert "exception" not in keys(api.post(SEARCH, {**query, "mode": "text"}))


@pytest.mark.parametrize("mode", ["vector", "text", "hybrid"])
def test_filters_narrow_every_mode(api: Api, facts: dict[str, Memory], remember: Remember, mode: str) -> None:
    remember({"text": "Rusty has a kennel", "kind": {"of": ["dog", "thing"]}}, key="fact.kennel", tags=["fact", "new"])
    run_jobs()
    query = ask("Rusty the dog", mode=mode)
    moment = api.get("/v1/memory?key=fact.kennel").json["memories"][0]["updated_at"]

    assert set(keys(api.post(SEARCH, query))) >= {"pet", "kennel"}
    assert keys(api.post(SEARCH, {**query, "tags": ["fact", "new"]})) == ["kennel"]
    assert keys(api.post(SEARCH, {**query, "value": {"kind": {"of": ["dog"]}}})) == ["kennel"]
    assert keys(api.post(SEARCH, {**query, "since": moment})) == ["kennel"]
    assert "kennel" not in keys(api.post(SEARCH, {**query, "until": moment}))
    assert keys(api.post(SEARCH, {**query, "tags": ["none"]})) == []


def test_search_uses_the_old_model_until_the_new_one_is_complete(
    api: Api, facts: dict[str, Memory], models: ModelServer, configure: Callable[..., Any]
) -> None:
    run_jobs(UPKEEP)
    configure(MEMORY_EMBEDDER="ollama", OLLAMA_BASE_URL=models.base_url)
    upkeep.tend()

    during = api.post(SEARCH, ask("When do we release to prod?"))
    assert (keys(during)[0], during.json["model"]) == ("deploy", "all-MiniLM-L6-v2")
    assert during.json["building"] == "ollama/embeddinggemma:300m-qat-q8_0"
    run_jobs()
    upkeep.tend()
    run_jobs(UPKEEP)

    after = api.post(SEARCH, ask(FACTS["backup"]))  # by a process that still takes the old model for the one in use
    assert (keys(after)[0], after.json["building"]) == ("backup", None)
    assert after.json["model"] == "embeddinggemma:300m-qat-q8_0"


def test_a_model_that_changed_its_dimension_is_told(api: Api, by_ollama: ModelServer, remember: Remember) -> None:
    remember()
    run_jobs()
    by_ollama.dimensions = 16

    answer = api.post(SEARCH, ask("x"))

    assert (answer.status, answer.code) == (503, "MEMORY_VECTOR_DIMENSION")
    assert answer.json["error"]["details"] == {"existing_dimension": 768, "requested_dimension": 16}


def test_the_old_models_server_may_go_when_searches_have_changed_over(
    api: Api, by_ollama: ModelServer, remember: Remember, configure: Callable[..., Any]
) -> None:
    remember("a red fish")
    run_jobs()
    assert api.post(SEARCH, ask("fish")).json["model"] == "embeddinggemma:300m-qat-q8_0"
    configure(MEMORY_EMBEDDER="minilm")
    for _ in range(2):
        upkeep.tend()
        run_jobs()
        run_jobs(UPKEEP)
    by_ollama.answer_embeddings(Refusal(503))

    answer = api.post(SEARCH, ask("fish"))

    assert (answer.status, answer.json["model"]) == (200, "all-MiniLM-L6-v2")


# By words


def test_words_are_stemmed_and_all_of_them_come_before_any(api: Api, facts: dict[str, Memory]) -> None:
    answer = api.post(SEARCH, ask("invoice customers dogs", mode="text"))

    assert keys(answer) == ["invoice", "pet"]
    assert [match["distance"] for match in answer.json["matches"]] == [None, None]
    assert answer.json["model"] is None


def test_keys_tags_and_names_are_words_too(api: Api, remember: Remember) -> None:
    remember({"release_manager": "Ann"}, key="team.front-end", tags=["people"])

    for word in ("team", "front-end", "people", "manager", "ann"):
        assert api.post(SEARCH, ask(word, mode="text")).json["count"] == 1, word
    assert api.post(SEARCH, ask("zebra", mode="text")).json["count"] == 0


def test_a_query_may_quote_and_exclude(api: Api, facts: dict[str, Memory]) -> None:
    assert keys(api.post(SEARCH, ask('"office dog"', mode="text"))) == ["pet"]
    assert keys(api.post(SEARCH, ask('"dog office"', mode="text"))) == []
    assert keys(api.post(SEARCH, ask("fact -dog -invoice -night", mode="text"))) == ["deploy"]


@pytest.mark.parametrize(
    "query", ["the and of", "'; DROP TABLE memory_memory; --", "%s %(scope)s {}", ":*&|!<->()", "-"]
)
@pytest.mark.parametrize("mode", ["text", "hybrid"])
def test_a_strange_query_does_no_harm(api: Api, facts: dict[str, Memory], mode: str, query: str) -> None:
    assert api.post(SEARCH, ask(query, mode=mode)).status == 200
    assert Memory.objects.count() == len(FACTS)


def test_text_needs_no_embedding_server(api: Api, by_ollama: ModelServer, remember: Remember) -> None:
    remember("a red fish")

    assert api.post(SEARCH, ask("fish", mode="text")).json["count"] == 1
    assert by_ollama.calls == []


def has_trigrams() -> bool:
    """Whether the tests' Postgres could have the extension: the embedded one has none of Postgres' own."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_trgm'")
        return bool(cursor.fetchone()[0])


def test_misspelt_words_are_found_where_postgres_has_trigrams(api: Api, facts: dict[str, Memory]) -> None:
    query = ask("invoise custmers", mode="text")
    assert keys(api.post(SEARCH, query)) == []
    if not has_trigrams():
        assert not trigrams.is_installed()
        return
    with connection.cursor() as cursor:
        cursor.execute("CREATE EXTENSION pg_trgm")
    try:
        upkeep.tend()
        run_jobs(UPKEEP)
        assert trigrams.has_index()
        assert keys(api.post(SEARCH, query)) == ["invoice"]
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP EXTENSION pg_trgm CASCADE")


@pytest.mark.parametrize("query", ['"exact words"', "dogs -cats", "-cats", "a of it", "?!"])
def test_a_query_that_means_what_it_says_is_not_guessed_at(query: str) -> None:
    assert statements.by_trigrams(wanted("notes").model_copy(update={"query": query})) is None


# Both


def test_hybrid_finds_by_either_and_puts_first_what_both_find(api: Api, facts: dict[str, Memory]) -> None:
    answer = api.post(SEARCH, ask("the dog that eats vegetables", mode="hybrid", top_k=2))

    assert (keys(answer)[0], answer.json["count"], answer.json["mode"]) == ("pet", 2, "hybrid")
    scores = [match["score"] for match in answer.json["matches"]]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(2 / 61, abs=1e-6)


def test_hybrid_goes_on_with_words_when_the_model_is_away(api: Api, by_ollama: ModelServer, remember: Remember) -> None:
    remember("a red fish")
    run_jobs()
    by_ollama.answer_embeddings(Refusal(503))

    answer = api.post(SEARCH, ask("fish", mode="hybrid"))

    assert (answer.json["count"], answer.json["vector_error"]["code"]) == (1, "MEMORY_EMBED_HTTP")


def test_fusing_counts_places() -> None:
    a, b, c = (Match(Memory(key=key), 0.5) for key in "abc")

    fused = search.fuse([[a, b], [c, b]])

    assert [match.memory.key for match in fused] == ["b", "a", "c"]
    assert fused[0].score == round(2 / 62, 6)


# The index


def fill(scopes: Sequence[tuple[str, int]], dimension: int = 24) -> tuple[Space, np.ndarray[Any, Any]]:
    """Memories with vectors in clumps, a clump a scope; returns the model and the clumps' centres."""
    numbers = np.random.default_rng(5)
    space = spaces.live().active
    centres = numbers.normal(size=(len(scopes), dimension)).astype(np.float32)
    for (scope, count), centre in zip(scopes, centres, strict=True):
        made = Memory.objects.bulk_create(
            Memory(scope=scope, key=f"k{n}", value=n, tags=["odd"] if n % 2 else []) for n in range(count)
        )
        vectors = centre + 0.3 * numbers.normal(size=(count, dimension)).astype(np.float32)
        taken = [Taken(memory.pk, 1, "") for memory in made]
        embedding.save(space, taken, vectors)
        Memory.objects.filter(pk__in=[it.pk for it in made]).update(embedding_status="ready", embedded_at=Now())
    spaces.make_index(space)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE memory_memory")
        cursor.execute("ANALYZE memory_vector")
    return space, centres


def wanted(scope: str, **fields: Any) -> Search:
    return Search(scope=scope, query="-", **fields)


def keys_of(found: Found | Sequence[Match] | None) -> set[Any]:
    assert found is not None
    return {match.memory.pk for match in (found.matches if isinstance(found, Found) else found)}


def exact(query: Any, search_: Search, space: Space) -> set[Any]:
    rows = search._compared(embedding.as_text(query), search_, space, len(query))
    return {row[0] for row in rows}


@pytest.fixture
def few_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few hundred rows are many."""
    monkeypatch.setattr(statements, "EXACT_ROWS", 10)


def test_a_large_scope_is_searched_by_the_index_in_one_statement(few_are_exact: None) -> None:
    space, centres = fill([("large", 4000), ("other", 200)])
    by_index = wanted("large")

    with captured() as plans:
        found = search.nearest(centres[0].tolist(), by_index, space)

    (plan,) = plans
    (used,) = (node for node in plan.nodes() if node.get("Index Name") == space.index_name)
    assert used["Actual Loops"] == 1
    assert plan.faults() == []
    # A plan for every value must not count what waits in all scopes, of which there is next to nothing now.
    assert "memory_not_ready" not in {node.get("Index Name") for node in plan.nodes()}
    assert found is not None
    distances = [match.distance for match in found.matches]
    assert distances == sorted(distances, key=lambda it: it or 0)
    assert len(keys_of(found) & exact(centres[0].tolist(), by_index, space)) >= 9


def test_a_small_scope_takes_one_statement(django_assert_num_queries: Callable[[int], Any]) -> None:
    space, centres = fill([("small", 60), ("other", 60)])

    with django_assert_num_queries(1):
        found = search.nearest(centres[1].tolist(), wanted("small"), space)

    assert keys_of(found) == exact(centres[1].tolist(), wanted("small"), space)


def test_an_answer_by_another_model_than_the_one_in_use_is_none() -> None:
    space, centres = fill([("small", 20)])
    Space.objects.update(state="retired")
    Space.objects.create(provider="ollama", model="m", state="active", dimension=24)

    assert search.nearest(centres[0].tolist(), wanted("small"), space) is None


def test_a_small_scope_far_from_the_query_is_not_starved(few_are_exact: None) -> None:
    space, centres = fill([("large", 1500), ("small", 60), ("tiny", 3)])
    near_large = centres[0].tolist()

    for scope, count in (("small", 10), ("tiny", 3)):
        found = search.nearest(near_large, wanted(scope), space)
        assert keys_of(found) == exact(near_large, wanted(scope), space)
        assert len(keys_of(found)) == count


def test_what_the_index_gives_up_on_is_compared_whole(few_are_exact: None) -> None:
    space, centres = fill([("large", 1500), ("far", 200)])
    far, near_large = wanted("far"), centres[0].tolist()
    with connection.cursor() as cursor:
        cursor.execute("SET hnsw.max_scan_tuples = 20")
        cursor.execute("SET hnsw.ef_search = 10")
    try:
        by_index = search._rows(
            statements.nearest(far, embedding.as_text(near_large), space.pk, "vector(24)"), 24, space
        )
        found = search.nearest(near_large, far, space)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET hnsw.max_scan_tuples")
            cursor.execute("RESET hnsw.ef_search")

    assert len(by_index) < 10
    assert keys_of(found) == exact(near_large, far, space)


def test_every_scope_and_filter_is_recalled(few_are_exact: None) -> None:
    scopes = [(f"s{number}", 150) for number in range(8)]
    space, centres = fill(scopes)
    pick = random.Random(3)

    hits = total = 0
    for _ in range(40):
        query = (centres[pick.randrange(8)] + np.float32(0.1)).tolist()
        search_ = wanted(f"s{pick.randrange(8)}", tags=pick.choice([[], ["odd"]]))
        true = exact(query, search_, space)
        found = keys_of(search.nearest(query, search_, space))
        assert len(found) == 10
        hits, total = hits + len(found & true), total + len(true)

    assert hits / total >= 0.98


def test_without_an_index_all_is_compared(facts: dict[str, Memory], api: Api) -> None:
    assert not spaces.has_index(Space.objects.get())
    assert Vector.objects.count() == len(FACTS)
    assert keys(api.post(SEARCH, ask("When do we release to prod?")))[0] == "deploy"


def test_every_connection_asks_the_index_to_go_on() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT '[1]'::vector")
        cursor.execute("SELECT current_setting('hnsw.iterative_scan'), current_setting('hnsw.ef_search')")
        assert cursor.fetchone() == ("relaxed_order", "200")
