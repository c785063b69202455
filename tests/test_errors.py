import signal

import pytest

from vicisync import errors


@pytest.mark.parametrize(
    ("code", "error"),
    [
        pytest.param(2, errors.ConfigError(["x"]), id="usage or configuration"),
        pytest.param(3, errors.DatabaseError("x"), id="database"),
        pytest.param(4, errors.ApiError("x"), id="API"),
        pytest.param(5, errors.CheckpointError("x"), id="checkpoint"),
        pytest.param(75, errors.AlreadyRunning("x"), id="another run is at work"),
        pytest.param(130, errors.Stopped(signal.SIGINT), id="stopped by Ctrl-C"),
        pytest.param(143, errors.Stopped(signal.SIGTERM), id="stopped by systemd or a shutdown"),
    ],
)
def test_each_error_has_the_exit_code_of_the_design(code: int, error: errors.VicisyncError) -> None:
    assert code == error.exit_code


def test_calls_that_were_rejected_have_an_exit_code_of_their_own() -> None:
    assert errors.SOME_REJECTED == 6


def test_a_stop_names_the_signal() -> None:
    assert str(errors.Stopped(signal.SIGTERM)) == "Stopped by SIGTERM"


def test_each_mistake_in_the_configuration_is_a_line() -> None:
    error = errors.ConfigError(["one", "two"])
    assert str(error) == "one\ntwo"
    assert error.mistakes == ["one", "two"]
