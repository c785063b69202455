import signal

import pytest

from vicisync.errors import (
    SOME_REJECTED,
    AlreadyRunning,
    ApiError,
    CheckpointError,
    ConfigError,
    DatabaseError,
    Stopped,
    VicisyncError,
)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        pytest.param(2, ConfigError(["x"]), id="usage or configuration"),
        pytest.param(3, DatabaseError("x"), id="database"),
        pytest.param(4, ApiError("x"), id="API"),
        pytest.param(5, CheckpointError("x"), id="checkpoint"),
        pytest.param(75, AlreadyRunning("x"), id="another run is at work"),
        pytest.param(130, Stopped(signal.SIGINT), id="stopped by Ctrl-C"),
        pytest.param(143, Stopped(signal.SIGTERM), id="stopped by systemd or a shutdown"),
    ],
)
def test_each_error_has_the_exit_code_of_the_design(code: int, error: VicisyncError) -> None:
    assert code == error.exit_code


def test_calls_that_were_rejected_have_an_exit_code_of_their_own() -> None:
    assert SOME_REJECTED == 6


def test_a_stop_names_the_signal() -> None:
    assert str(Stopped(signal.SIGTERM)) == "Stopped by SIGTERM"


def test_each_mistake_in_the_configuration_is_a_line() -> None:
    error = ConfigError(["one", "two"])
    assert str(error) == "one\ntwo"
    assert error.mistakes == ["one", "two"]
