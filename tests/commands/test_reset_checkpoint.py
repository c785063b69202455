"""``vicisync reset-checkpoint``, by the installed command: what it moves, what it refuses, whom it asks."""

import json
import re
import shlex
import subprocess
import time
from collections.abc import Sequence

import pytest

from rehearsal.did_optimizer import ERROR_500, NOT_ACCEPTED, DidOptimizer
from rehearsal.site import COMMAND, Site
from tests.commands.command import INDIA, arrived, files, finish, lines, local, on_terminal, vicisync
from tests.commands.conftest import Refused
from vicisync.state.last_run import last_run_file


@pytest.mark.parametrize(
    ("typed", "back"),
    [("", 3600), ("--to 90m", 5400), ("--to '1 hour ago'", 3600), ("1h30m", 5400), ("1 hour ago", 3600), ("now", 0)],
)
def test_a_checkpoint_is_reset_to_so_long_ago_and_each_time_is_told_with_its_zone(
    typed: str, back: int, site: Site
) -> None:
    began = int(time.time())
    done = vicisync(site, "reset-checkpoint", "--yes", *shlex.split(typed), environment=INDIA)
    epoch = int(site.checkpoint_file.read_text().split()[1])
    assert began - back <= epoch <= time.time() - back
    assert [
        "Old checkpoint: none yet",
        f"New checkpoint: {local(epoch, 5.5)} IST; what ended after that will be sent, or sent again",
        f"💾 Saved checkpoint: {local(epoch, 5.5)} IST",
    ] == done.stdout.splitlines()


@pytest.mark.parametrize(
    ("typed", "epoch"),
    [
        ("--to '2024-10-24 12:00:00'", 1729751400), ("2024-10-24 12:00", 1729751400), ("--to 1729771200", 1729771200),
        ("--to 2024-10-24T12:00:00+02:00", 1729764000), ("--to='2024-10-24 12:00:00 IST'", 1729751400),
    ],
)  # fmt: skip
def test_a_checkpoint_is_reset_to_a_point_in_time(typed: str, epoch: int, site: Site) -> None:
    vicisync(site, "reset-checkpoint", "-y", *shlex.split(typed), environment=INDIA)
    text = site.checkpoint_file.read_text()
    assert text.startswith(f"end_epoch\t{epoch}\t{local(epoch, 5.5)}\t3 lines, crc32 ")
    assert f"\nended_after\t{epoch}\n" in text


@pytest.mark.parametrize("to", ["tomorrow", "-1h", ""])
def test_a_time_that_cannot_be_read_is_refused_with_the_forms_that_can(to: str, refused: Refused) -> None:
    error, cure = lines(refused("reset-checkpoint", f"--to={to}")[0])
    assert f"❌ --to: cannot read {to!r} as a time" == error
    assert cure.startswith("   → write 2024-10-24 12:00:00 (local), ")


def test_a_time_that_lies_ahead_is_refused(site: Site) -> None:
    ahead = int(time.time()) + 3600
    for to in (local(ahead, 5.5), str(ahead)):
        (error,) = lines(vicisync(site, "reset-checkpoint", "--to", to, code=2, environment=INDIA).stderr)
        assert error.startswith(f"❌ --to: {local(ahead, 5.5)} IST lies ahead")
    assert not site.checkpoint_file.exists()


def test_after_a_reset_the_next_run_delivers_again_what_ended_after_it(site: Site, api: DidOptimizer) -> None:
    """The watched calls are forgotten with the rest, and found again."""
    older, newer = finish(site, 3, ago=2000), finish(site, 4, ago=600)
    update = f"UPDATE `{site.database}`.vicidial_log SET status ="
    site.mariadb.execute(f"{update} 'DISPO' WHERE uniqueid = %s", (newer[-1],))
    vicisync(site, "run")
    assert sorted(older + newer[:-1]) == sorted(arrived(api))
    shown = vicisync(site, "reset-checkpoint", "--yes", "--to", str(int(time.time() - 1000))).stdout
    assert re.search(r"Old checkpoint: (.*), 1 call watched", shown)
    vicisync(site, "run")
    assert sorted(newer[:-1]) == sorted(arrived(api)[6:])
    site.mariadb.execute(f"{update} 'SALE' WHERE status = 'DISPO'")
    vicisync(site, "run")
    assert [newer[-1]] == arrived(api)[9:]


@pytest.mark.parametrize(
    ("arguments", "answer", "resets"),
    [((), "y\n", True), *(((), no, False) for no in ("n\n", "\n", "\x03", "\x04")), (("--yes",), "", True)],
    ids=["yes", "no", "return, which means no", "Ctrl-C", "Ctrl-D", "not asked"],
)
def test_on_a_terminal_a_reset_asks_first(arguments: Sequence[str], answer: str, resets: bool, site: Site) -> None:
    vicisync(site, "run")
    before = site.checkpoint_file.read_bytes()
    code, output = on_terminal(site, "reset-checkpoint", "--to", "1729771200", *arguments, answer=answer)
    assert (not arguments) == ("Reset?" in output)
    assert re.search("Old checkpoint: .*\nNew checkpoint: ", output)
    words = ("💾 Saved checkpoint: ", "Aborted; nothing was changed")
    assert (0 if resets else 130, resets, not resets) == (code, *(each in output for each in words))
    after = site.checkpoint_file.read_bytes()
    assert after.startswith(b"end_epoch\t1729771200\t") if resets else before == after


@pytest.mark.parametrize("stdin", ["echo n |", "yes |", "</dev/null", "<&-"])
def test_without_a_terminal_nobody_can_be_asked_and_nothing_is_changed_without_yes(stdin: str, site: Site) -> None:
    vicisync(site, "run")
    before = files(site)
    shell = f"{stdin} {COMMAND} reset-checkpoint 2h" if "|" in stdin else f"{COMMAND} reset-checkpoint 2h {stdin}"
    done = subprocess.run(["sh", "-c", shell], env=site.environment(), capture_output=True, text=True, check=False)
    assert (2, before) == (done.returncode, files(site))
    why, cure = lines(done.stderr)
    assert why.startswith("❌ No terminal, so nobody can be asked, and nothing was changed; ")
    assert why.endswith("add --yes")
    vicisync(site, *shlex.split(cure.removeprefix("   → vicisync ")))
    assert str(int(time.time()) - 7200)[:8] == site.checkpoint_file.read_text().split()[1][:8]


def test_a_question_left_open_holds_no_run_up_and_is_asked_anew_where_the_checkpoint_has_moved(
    site: Site, api: DidOptimizer
) -> None:
    vicisync(site, "run")
    finish(site, 1)

    def meanwhile() -> str:
        vicisync(site, "run")
        return "y\n"

    code, output = on_terminal(site, "reset-checkpoint", "2h", answer=meanwhile)
    assert 75 == code
    assert "❌ A run has moved the checkpoint since you were asked, and nothing was changed\n   → vicisync " in output
    assert 1 == len(arrived(api))
    vicisync(site, "run")
    assert 1 == len(arrived(api))


def test_a_reset_that_would_leave_calls_out_says_so_and_needs_a_yes(site: Site, api: DidOptimizer) -> None:
    """Those that wait since an outage, longer ago than the hour of the default."""
    finish(site, 3, ago=10_000)
    site.configure(max_retries="0")
    vicisync(site, "reset-checkpoint", "--yes", "--to", "4h")
    api.down()
    vicisync(site, "run", code=4)
    api.up()
    warning = vicisync(site, "reset-checkpoint", "--to", "1h", code=2).stdout
    assert "never be sent" in warning
    (cure,) = re.findall(r"→ to send them: vicisync (reset-checkpoint --to '[^']*')\n", warning)
    vicisync(site, *shlex.split(cure), "--yes")
    vicisync(site, "run")
    finish(site, 1, ago=8000)
    assert "⚠ Calls that ended before " in vicisync(site, "reset-checkpoint", "--to", "1h", "--yes").stdout
    vicisync(site, "run")
    assert 3 == len(arrived(api))


def test_a_reset_without_a_time_goes_back_to_the_begin_of_a_long_outage(site: Site, api: DidOptimizer) -> None:
    finish(site, 1, ago=10_000)
    vicisync(site, "reset-checkpoint", "--yes", "--to", "4h")
    vicisync(site, "run")
    finish(site, 2, ago=8000)
    vicisync(site, "reset-checkpoint", "--yes")
    vicisync(site, "run")
    assert 3 == len(arrived(api))


@pytest.mark.parametrize("text", ["nonsense\n", "2099-01-01 00:00:00", None], ids=["damaged", "lies ahead", "removed"])
def test_where_no_checkpoint_tells_that_the_last_good_run_does(text: str | None, site: Site, api: DidOptimizer) -> None:
    """What ended before that is found missing: nobody has left it out on purpose."""
    vicisync(site, "reset-checkpoint", "--yes", "--to", "5h")
    finish(site, 1, ago=16_000)
    vicisync(site, "run")
    path = last_run_file(site.checkpoint_file)
    path.write_text(json.dumps({**json.loads(path.read_text()), "last_success": int(time.time()) - 9000}))
    finish(site, 1, ago=14_000)
    finish(site, 2, ago=8000)
    site.checkpoint_file.unlink()
    if text:
        site.checkpoint_file.write_text(text)
        assert vicisync(site, "run", code=5).stderr.endswith("→ vicisync reset-checkpoint\n")
        vicisync(site, "reset-checkpoint", "--yes")
    vicisync(site, "run")
    assert 3 == len(arrived(api))
    assert "3 delivered, 0 rejected, 0 waiting, 1 missing" in vicisync(site, "reconcile", "--from", "5h", code=6).stdout


def test_a_folder_in_the_checkpoint_s_place_stops_a_reset_at_the_reading(site: Site) -> None:
    site.checkpoint_file.mkdir(parents=True)
    done = vicisync(site, "reset-checkpoint", "--yes", code=5)
    assert lines(done.stderr)[0].startswith(f"❌ Cannot read the checkpoint {site.checkpoint_file}: ")
    assert ("", []) == (done.stdout, list(site.checkpoint_file.iterdir()))


def test_a_reset_keeps_what_it_is_to_send_of_calls_whose_rows_are_gone(site: Site, api: DidOptimizer) -> None:
    vicisync(site, "run")
    finish(site, 4, ago=1200)
    site.configure(max_retries="0")
    api.down()
    vicisync(site, "run", code=4)
    site.mariadb.execute(f"TRUNCATE `{site.database}`.vicidial_log")
    vicisync(site, "reset-checkpoint", "--to", "3h", "--yes")
    api.up()
    vicisync(site, "run")
    assert 4 == len(api.records)


def test_a_rejected_call_that_a_run_delivers_after_a_reset_is_rejected_no_more(site: Site, api: DidOptimizer) -> None:
    bad, *_ = finish(site, 6, ago=1800)
    api.fault_for = lambda payload: NOT_ACCEPTED if payload["uniqueid"] == bad else None
    vicisync(site, "run", code=6)
    api.fault_for = None
    vicisync(site, "reset-checkpoint", "--to", "2h", "--yes")
    vicisync(site, "run")
    assert "✅ No rejected calls" in vicisync(site, "retry-rejected").stdout
    assert [bad] == [post.payload["uniqueid"] for post in api.posts if post.stored and post.payload["uniqueid"] == bad]


@pytest.mark.parametrize("limit", ["40", "300"], ids=["in the middle of it", "when all of it has gone"])
def test_a_reset_without_a_time_leaves_nothing_out_of_a_backlog(limit: str, site: Site, api: DidOptimizer) -> None:
    """One long call, delivered early, ends hours after the others that have not gone yet."""
    vicisync(site, "reset-checkpoint", "--yes", "--to", "6h")
    calls = finish(site, 200, ago=9000)
    update = f"UPDATE `{site.database}`.vicidial_log SET end_epoch = UNIX_TIMESTAMP() - 4000 WHERE uniqueid = %s"
    site.mariadb.execute(update, (calls[0],))
    vicisync(site, "run", "--limit", limit)
    before = len(arrived(api))
    vicisync(site, "reset-checkpoint", "--yes")
    vicisync(site, "run")
    assert 200 == len(api.records)
    assert api.repeats <= before


def test_what_is_late_when_the_checkpoint_is_lost_is_sent(site: Site, api: DidOptimizer) -> None:
    vicisync(site, "reset-checkpoint", "--yes", "--to", "6h")
    finish(site, 200, ago=9000)
    vicisync(site, "run", "--limit", "40")
    site.checkpoint_file.unlink()
    vicisync(site, "run")
    assert 200 == len(api.records)


def test_a_checkpoint_of_the_old_script_that_is_newer_than_the_last_good_run_counts(
    site: Site, api: DidOptimizer
) -> None:
    """Somebody went back to it for a while."""
    vicisync(site, "run")
    path = last_run_file(site.checkpoint_file)
    path.write_text(json.dumps({**json.loads(path.read_text()), "last_success": int(time.time()) - 72_000}))
    site.checkpoint_file.unlink()
    finish(site, 3, ago=9000)
    finish(site, 2, ago=60)
    (site.folder / "did-optimizer-last-check.txt").write_text(local(time.time() - 300) + "\n")
    vicisync(site, "run", environment={"TZ": "UTC"})
    assert 2 == len(api.records)


def test_a_reset_without_a_time_leaves_no_call_out_that_has_failed(site: Site, api: DidOptimizer) -> None:
    vicisync(site, "reset-checkpoint", "--yes", "--to", "6h")
    site.configure(max_retries="0")
    (bad,) = finish(site, 1, ago=9000)
    finish(site, 5, ago=4000)
    api.fault_for = lambda sent: ERROR_500 if sent["uniqueid"] == bad else None
    vicisync(site, "run")
    api.fault_for = None
    vicisync(site, "reset-checkpoint", "--yes")
    vicisync(site, "run")
    assert 6 == len(api.records)


def test_a_journal_that_cannot_be_told_of_a_reset_is_named(site: Site) -> None:
    vicisync(site, "run")
    site.checkpoint_file.write_text("nonsense\n")
    site.journal_file.write_text("nonsense\n")
    shown = vicisync(site, "reset-checkpoint", "--yes").stdout
    assert f"⚠ Cannot use the journal {site.journal_file}: " in shown
    assert "💾 Saved checkpoint: " in shown
