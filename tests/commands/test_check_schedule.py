"""What ``vicisync check`` says of cron's and logrotate's entries."""

from __future__ import annotations

from typing import Callable

import pytest

from rehearsal.site import COMMAND
from tests.checked_dialer import JOB, CheckedDialer
from tests.limits import as_nobody
from vicisync.commands.check import schedule
from vicisync.commands.check.finding import line_of

pytestmark = pytest.mark.not_pyz

OLD = "/opt/did/process-call-results.pl >> /var/log/did-optimizer-sync.log 2>&1\n"


def test_the_job_and_the_rotation_are_told_by_their_files(dialer: CheckedDialer) -> None:
    lines = dialer.check()[1]
    assert f"✓ {dialer.cron} line 1 runs {COMMAND}" in lines
    assert f"✓ {dialer.logrotate} rotates the log" in lines


def no_job(dialer: CheckedDialer) -> None:
    dialer.cron.unlink()


def commented_out(dialer: CheckedDialer) -> None:
    dialer.rewrite(dialer.cron, "* * * * *", "#* * * * *")


def no_executable(dialer: CheckedDialer) -> None:
    dialer.rewrite(dialer.cron, str(COMMAND), "/opt/gone/vicisync")


def not_executable(dialer: CheckedDialer) -> None:
    file = dialer.root / "vicisync"
    file.write_text("#!/bin/sh\n")
    dialer.rewrite(dialer.cron, str(COMMAND), str(file))


def not_on_crons_path(dialer: CheckedDialer) -> None:
    dialer.rewrite(dialer.cron, str(COMMAND), "vicisync")


def name_with_a_dot(dialer: CheckedDialer) -> None:
    dialer.cron.rename(dialer.cron.with_name("vicisync.cron"))


def writable_by_a_group(dialer: CheckedDialer) -> None:
    dialer.cron.chmod(0o664)


def no_rotation(dialer: CheckedDialer) -> None:
    dialer.logrotate.unlink()


def rotation_commented_out(dialer: CheckedDialer) -> None:
    dialer.logrotate.write_text("# /var/log/did-optimizer-sync.log {\n")


def old_script_in_roots_crontab(dialer: CheckedDialer) -> None:
    with dialer.crontab.open("a") as file:
        file.write(f"*/5 * * * * {OLD}")


def old_script_in_cron_d(dialer: CheckedDialer) -> None:
    (dialer.etc / "cron.d" / "did").write_text(f"# DIDs\n*/5 * * * * root {OLD}")


def old_script_in_etc_crontab(dialer: CheckedDialer) -> None:
    (dialer.etc / "crontab").write_text(f"*/5 * * * * root {OLD}")


MISSING = ", which is not there or cannot be executed → vicisync install"
TWICE = " still runs the old script: both would send every call → vicisync install --replace-old"


@pytest.mark.parametrize(
    ("breakage", "code", "line"),
    [
        pytest.param(no_job, 0, "⚠ No cron entry runs vicisync → vicisync install", id="no job"),
        pytest.param(commented_out, 0, "⚠ No cron entry runs vicisync → vicisync install", id="commented out"),
        pytest.param(no_executable, 2, "❌ {cron} line 1 runs /opt/gone/vicisync" + MISSING, id="executable gone"),
        pytest.param(not_executable, 2, "❌ {cron} line 1 runs {root}/vicisync" + MISSING, id="not executable"),
        pytest.param(not_on_crons_path, 2, "❌ {cron} line 1 runs vicisync" + MISSING, id="not on cron's PATH"),
        pytest.param(
            name_with_a_dot, 0, "⚠ Cron passes {cron}.cron over → mv {cron}.cron {cron}", id="name with a dot"
        ),
        pytest.param(
            writable_by_a_group, 0, "⚠ Cron passes {cron} over → chown root {cron}; chmod go-w {cron}", id="mode"
        ),
        pytest.param(
            no_rotation, 0, "⚠ No logrotate entry for did-optimizer-sync.log → vicisync install", id="no rotation"
        ),
        pytest.param(
            rotation_commented_out,
            0,
            "⚠ No logrotate entry for did-optimizer-sync.log → vicisync install",
            id="rotation commented out",
        ),
        pytest.param(old_script_in_roots_crontab, 0, "⚠ root's crontab line 3" + TWICE, id="old script, crontab"),
        pytest.param(old_script_in_cron_d, 0, "⚠ {etc}/cron.d/did line 2" + TWICE, id="old script, cron.d"),
        pytest.param(old_script_in_etc_crontab, 0, "⚠ {etc}/crontab line 1" + TWICE, id="old script, /etc/crontab"),
    ],
)
def test_each_fault_of_the_schedule_has_its_line(
    breakage: Callable[[CheckedDialer], None], code: int, line: str, dialer: CheckedDialer
) -> None:
    breakage(dialer)
    expected = line.format(cron=dialer.cron, root=dialer.root, etc=dialer.etc)
    assert (code, [expected]) == dialer.worse()


def test_a_job_in_roots_crontab_is_as_good(dialer: CheckedDialer) -> None:
    dialer.cron.unlink()
    with dialer.crontab.open("a") as file:
        file.write(JOB.format(COMMAND).replace(" root ", " "))
    assert f"✓ root's crontab line 3 runs {COMMAND}" in dialer.check()[1]
    assert (0, []) == dialer.worse()


def test_a_job_found_by_the_path_that_its_file_sets_is_well(dialer: CheckedDialer) -> None:
    dialer.cron.write_text(f"PATH={COMMAND.parent}:/usr/bin\n{JOB.format('vicisync')}")
    assert f"✓ {dialer.cron} line 2 runs vicisync" in dialer.check()[1]


def test_a_job_that_cron_reads_makes_one_that_it_passes_over_none_of_our_business(dialer: CheckedDialer) -> None:
    dialer.cron.with_name("vicisync.dpkg-old").write_text(dialer.cron.read_text())
    assert (0, []) == dialer.worse()


def test_a_root_without_a_crontab_and_a_system_without_cron_are_no_errors(dialer: CheckedDialer) -> None:
    (dialer.programs / "crontab").write_text("#!/bin/sh\necho 'no crontab for root' >&2\nexit 1\n")
    assert (0, []) == dialer.worse()
    assert [
        "⚠ No cron entry runs vicisync → vicisync install",
        "⚠ No logrotate entry for did-optimizer-sync.log → vicisync install",
    ] == [line_of(found) for found in schedule.findings(dialer.root / "nothing")]


def test_where_the_crontab_cannot_be_listed_it_says_so_and_looks_at_the_files(dialer: CheckedDialer) -> None:
    refusal = "You (root) are not allowed to use this program (crontab)"
    (dialer.programs / "crontab").write_text(f"#!/bin/sh\necho '{refusal}' >&2\nexit 1\n")
    code, worse = dialer.worse()
    assert (0, 1) == (code, len(worse))
    assert worse[0].startswith(f"⚠ Root's crontab cannot be looked at: crontab -l failed: {refusal} → ")


def test_a_file_of_cron_s_that_is_no_file_or_no_text_is_passed_over(dialer: CheckedDialer) -> None:
    (dialer.etc / "cron.d" / "folder").mkdir()
    (dialer.etc / "cron.d" / "image").write_bytes(b"\xff\x00\n")
    (dialer.etc / "cron.d" / "gone").symlink_to("/nowhere")
    assert (0, []) == dialer.worse()


def test_who_may_not_look_at_everything_is_told_so_and_nothing_is_guessed(dialer: CheckedDialer) -> None:
    dialer.root.parent.chmod(0o755)
    dialer.cron.chmod(0o600)
    dialer.logrotate.chmod(0o600)
    with as_nobody():
        found = [line_of(finding) for finding in schedule.findings(dialer.root)]
    assert [
        "⚠ Root's crontab cannot be looked at: only root can list it → sudo vicisync check",
        f"⚠ {dialer.cron} cannot be looked at: Permission denied → sudo vicisync check",
        f"⚠ {dialer.logrotate} cannot be looked at: Permission denied → sudo vicisync check",
    ] == found
