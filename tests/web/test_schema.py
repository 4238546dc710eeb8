"""schemathesis: whatever is sent, answers are as declared and nothing crashes."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance
from studio_world import World, quick_world

schemathesis.serializer.alias("application/zip", "application/octet-stream")


@pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # schemathesis does
def test_every_route_answers_as_it_is_declared(tmp_path, monkeypatch):
    quick_world(tmp_path, monkeypatch)
    world = World(tmp_path / "library", hosts=("testserver", "localhost"))
    world.worker.introduce()
    song = world.song(takes=2)
    world.post("/map", status=202)
    world.work()
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", world.app)
    schema = schema.exclude(path="/api/events")  # never ends
    known = {"song": song["id"], "take": song["tree"][0]["id"], "job": world.get("/jobs")["jobs"][0]["id"]}
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=12,
            derandomize=True,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @schemathesis_given(operation, known)
        def every_answer(case):
            case.call_and_validate(excluded_checks=[positive_data_acceptance])  # any bytes are a file to a schema

        every_answer()
    world.close()


def schemathesis_given(operation, known):
    """Cases of an operation; half of them about what is there."""
    from hypothesis import given

    def about(case, there):
        names = {name: known[name] for name in case.path_parameters or {} if there and name in known}
        case.path_parameters = {**(case.path_parameters or {}), **names} or None
        return case

    return given(case=st.builds(about, operation.as_strategy(), st.booleans()))
