"""The simulated scanner plays Pulseq files as docs/reference/scanner-protocol.md says."""

from __future__ import annotations

import hashlib
import socket
import time
from typing import TYPE_CHECKING, Self

import numpy as np
import pypulseq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypulseq.compress_shape import compress_shape

from coilbench.base.nuclei import nucleus
from hil_fixtures.instruments.pulseq_reader import SequenceError, decompress, read_pulseq
from hil_fixtures.instruments.repetitions import GradientLimit, GradientLimits, read_repetitions
from hil_fixtures.instruments.scanner import Scanner
from hil_fixtures.instruments.scanner_text import Command, CommandError, Messages
from hil_fixtures.instruments.trigger_line import TriggerLine
from hil_fixtures.instruments.wire import TcpServer
from hil_fixtures.physics.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hil_fixtures.instruments.repetitions import Repetition
    from hil_fixtures.physics.shot import Shot

GAMMA = nucleus("23Na").gamma_bar
SYSTEM = pypulseq.Opts(
    max_grad=40, grad_unit="mT/m", max_slew=170, slew_unit="T/m/s", gamma=GAMMA,
    rf_dead_time=0, rf_ringdown_time=0, adc_dead_time=0,
)  # fmt: skip
#: Samples at raster centres: a ramp of 20, a plateau of 50, in Hz/m.
WAVE = np.concatenate([np.arange(1, 41, 2) / 40.0, np.ones(50)]) * 6e4
DIRECTIONS = np.array([[1.0, 0.0, 0.0], [0.0, 0.6, 0.8], [-2 / 3, 2 / 3, 1 / 3]])


def written(
    sequence: pypulseq.Sequence, folder: Path, *, nucleus_name: str | None = "23Na", **more: str
) -> str:
    """Return the file's text, with the definitions that the scanner needs."""
    if nucleus_name is not None:
        sequence.set_definition("Nucleus", nucleus_name)
    for name, value in more.items():
        sequence.set_definition(name, value)
    sequence.write(str(folder / "a.seq"))
    return (folder / "a.seq").read_text(encoding="utf-8")


def radial(spokes: NDArray[np.float64] = DIRECTIONS, repetition_time: float = 0.1) -> pypulseq.Sequence:
    """Return a centre-out sequence: 90 degrees in 0.2 ms, trigger at its end, gradients 100 µs later."""
    sequence = pypulseq.Sequence(SYSTEM)
    pulse = pypulseq.make_block_pulse(np.pi / 2, duration=200e-6, system=SYSTEM)
    trigger = pypulseq.make_digital_output_pulse("ext1", delay=200e-6, duration=20e-6, system=SYSTEM)
    adc = pypulseq.make_adc(50, dwell=10e-6, delay=80e-6, system=SYSTEM)
    for spoke in spokes:
        gradients = [
            pypulseq.make_arbitrary_grad(
                axis, WAVE * part, delay=80e-6, system=SYSTEM, first=0, last=WAVE[-1] * part
            )
            for axis, part in zip("xyz", spoke, strict=True)
            if part
        ]
        ends = [
            pypulseq.make_extended_trapezoid(
                axis,
                amplitudes=np.array([WAVE[-1] * part, 0.0]),
                times=np.array([0.0, 100e-6]),
                system=SYSTEM,
            )
            for axis, part in zip("xyz", spoke, strict=True)
            if part
        ]
        sequence.add_block(pulse, trigger)
        sequence.add_block(*gradients, adc)
        sequence.add_block(*ends)
        sequence.add_block(pypulseq.make_trapezoid("z", area=200.0, system=SYSTEM))
        used = 220e-6 + 780e-6 + 100e-6
        spoiler = pypulseq.calc_duration(pypulseq.make_trapezoid("z", area=200.0, system=SYSTEM))
        sequence.add_block(pypulseq.make_delay(repetition_time - used - spoiler))
    return sequence


def repetitions(text: str, limits: GradientLimits | None = None) -> tuple[Repetition, ...]:
    return read_repetitions(read_pulseq(text), 3.0, limits or GradientLimits())


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(radial(), tmp_path_factory.mktemp("sequence"), TransmitFrequency_Hz="33787900.0")


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=1)


class Listener:
    """A receiver that writes down the triggers it gets."""

    def __init__(self) -> None:
        self.shots: list[Shot] = []

    def offer(self, shots: Sequence[Shot], /) -> None:
        self.shots += shots

    def deliver(self, samples: object, /) -> None:
        raise AssertionError(samples)


class Client:
    """A text client on a socket."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=5.0)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = self.socket.makefile("rb")

    def order(self, command: str | bytes) -> str:
        """Send a command without answer and return what the error queue says."""
        data = command.encode() if isinstance(command, str) else command
        self.socket.sendall(data + b"\n")
        return self.ask("SYST:ERR?")

    def ask(self, query: str) -> str:
        self.socket.sendall(query.encode() + b"\n")
        return self._lines.readline().decode().rstrip("\n")

    def load(self, text: str) -> str:
        block = text.encode()
        return self.order(b"SEQ:LOAD #%d%d" % (len(str(len(block))), len(block)) + block)

    def wait_for(self, state: str) -> None:
        until(lambda: self.ask("SEQ:STAT?") == state)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._lines.close()
        self.socket.close()


def until(condition: Callable[[], bool]) -> None:
    """Ask again until it is true, for at most 5 s."""
    deadline = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < deadline, "it did not become true within 5 s"
        time.sleep(0.005)


@pytest.fixture
def line(world: World) -> TriggerLine:
    return TriggerLine(world)


@pytest.fixture
def listener(line: TriggerLine) -> Listener:
    listener = Listener()
    line.arm(listener)
    return listener


@pytest.fixture
def server(world: World, line: TriggerLine) -> Iterator[TcpServer]:
    with Scanner(world, line) as scanner, TcpServer(scanner.open_link) as server:
        yield server


@pytest.fixture
def client(server: TcpServer) -> Iterator[Client]:
    with Client(server.address) as client:
        yield client


NO_ERROR = '0,"No error"'


def test_what_another_program_wrote_is_read(text: str) -> None:
    """Flip angle, timing, direction and end of k-space of a file by pypulseq, to its six digits."""
    found = repetitions(text)
    assert len(found) == 3
    for number, (repetition, direction) in enumerate(zip(found, DIRECTIONS, strict=True)):
        assert repetition.flip_angle == pytest.approx(np.pi / 2, rel=1e-5)
        assert repetition.rf_centre == pytest.approx(-100e-6, abs=1e-12)
        assert repetition.rf_duration == pytest.approx(200e-6)
        assert repetition.repetition_time == pytest.approx(0.1, abs=1e-12)
        assert repetition.trigger_time == pytest.approx(0.1 * number + 200e-6, abs=1e-9)
        assert repetition.rf_frequency == 33_787_900.0
        np.testing.assert_allclose(repetition.direction, direction, atol=1e-5)
        # The ADC ends after 50 of the 70 cells: 20 of the ramp (mean one half), 30 of the plateau.
        assert repetition.k_radius[-1] == pytest.approx((20 * 0.5 + 30) * 6e4 * 10e-6, rel=2e-5)
        assert repetition.k_times[-1] == pytest.approx(100e-6 + 500e-6, abs=1e-9)


def test_raster_samples_are_held_over_their_cells(text: str) -> None:
    """The edge of cell n has the sum of the n samples before it; nothing moves before the gradient."""
    repetition = repetitions(text)[0]
    edges = 100e-6 + 10e-6 * np.arange(21)
    k = np.interp(edges, repetition.k_times, repetition.k_radius)
    np.testing.assert_allclose(k, np.concatenate([[0.0], np.cumsum(WAVE[:20])]) * 10e-6, atol=1e-4)
    assert np.interp(99e-6, repetition.k_times, repetition.k_radius) == 0.0


def test_spokes_share_one_waveform(text: str) -> None:
    """Rounding in the file must not make every spoke a waveform of its own."""
    found = repetitions(text)
    assert all(repetition.k_radius is found[0].k_radius for repetition in found)


def test_carrier_without_definition_follows_from_field_and_nucleus(tmp_path: Path) -> None:
    """gamma_bar B0 of the named nucleus."""
    assert repetitions(written(radial(), tmp_path))[0].rf_frequency == pytest.approx(GAMMA * 3.0)


def test_trapezoid_moment_is_quadratic_on_its_ramps(tmp_path: Path) -> None:
    """On the ramp k = G t²/(2 t_ramp), to the bend between points 1 µs apart."""
    sequence = pypulseq.Sequence(SYSTEM)
    trigger = pypulseq.make_digital_output_pulse("ext1", delay=200e-6, duration=20e-6, system=SYSTEM)
    sequence.add_block(pypulseq.make_block_pulse(0.1, duration=200e-6, system=SYSTEM), trigger)
    sequence.add_block(
        pypulseq.make_trapezoid("y", amplitude=3e5, rise_time=200e-6, flat_time=1e-3, system=SYSTEM)
    )
    (repetition,) = repetitions(written(sequence, tmp_path))
    time_on_ramp = np.linspace(0.0, 200e-6, 37)
    k = np.interp(20e-6 + time_on_ramp, repetition.k_times, repetition.k_radius)
    np.testing.assert_allclose(k, 3e5 * time_on_ramp**2 / (2 * 200e-6), atol=3e-4)
    assert repetition.k_radius[-1] == pytest.approx(3e5 * 1.2e-3)


def test_moment_counts_from_the_centre_of_the_pulse(tmp_path: Path) -> None:
    """A gradient on during the pulse: what came before its centre does not count."""
    sequence = pypulseq.Sequence(SYSTEM)
    trigger = pypulseq.make_digital_output_pulse("ext1", delay=900e-6, duration=20e-6, system=SYSTEM)
    pulse = pypulseq.make_block_pulse(0.1, duration=200e-6, delay=400e-6, system=SYSTEM)
    sequence.add_block(
        pulse,
        trigger,
        pypulseq.make_trapezoid("x", amplitude=2e5, rise_time=200e-6, flat_time=1e-3, system=SYSTEM),
    )
    (repetition,) = repetitions(written(sequence, tmp_path))
    at_trigger = np.interp(0.0, repetition.k_times, repetition.k_radius)
    assert at_trigger == pytest.approx(2e5 * 400e-6)


@given(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.5, -1.0]), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_compressed_shapes_unpack(samples: list[float]) -> None:
    """What pypulseq compresses comes back, to its quantisation."""
    packed = compress_shape(np.array(samples), force_compression=True)
    if packed.data.size != packed.num_samples:
        np.testing.assert_allclose(decompress(packed.data, packed.num_samples), samples, atol=1e-6)


def unsigned(text: str) -> str:
    """Return a file without its signature, so that it may be changed."""
    return text.partition("\n[SIGNATURE]")[0]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("Nucleus 23Na", "Comment none", "neither a known Nucleus nor Gamma_Hz_T"),
        ("Nucleus 23Na", "Nucleus 23Na\nGamma_Hz_T 42576000", "is not that of 23Na"),
        ("Nucleus 23Na", "Nucleus 99Xx", "neither a known Nucleus"),
        ("minor 5", "minor 4", "1.4 cannot be played"),
        ("[SHAPES]", "[LABELS]\n[SHAPES]", r"\[LABELS\] is unknown"),
        ("extension TRIGGERS", "extension ROTATIONS", "ROTATIONS cannot be played"),
        ("shape_id 1\n", "shape_id 77\n", "refers to shape 1"),
        ("1         1250 1 2 3 100 0 0 0 0 0 u", "1 1250 1 2 3 100 0 0 0 0 0.5 u", "has a phase"),
        ("1 1 3 200 20", "1 2 3 200 20", "no output trigger"),
        ("1 1 3 200 20", "1 1 3 0 20", "between its RF pulse and the next"),
        ("GradientRasterTime 1e-05", "", "lacks GradientRasterTime"),
        ("1 1 1 0\n", "1 1 1 5\n", "broken at 5"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_played_say_why(text: str, old: str, new: str, complaint: str) -> None:
    """One change each to a good file; the text names the section, the event or the definition."""
    plain = unsigned(text)
    assert old in plain
    with pytest.raises(SequenceError, match=complaint):
        repetitions(plain.replace(old, new))


def test_signature_is_verified(text: str) -> None:
    """A file that was changed after signing is refused; MD5 as the file itself explains."""
    body = unsigned(text)
    assert hashlib.md5(body.encode(), usedforsecurity=False).hexdigest() in text
    repetitions(text)
    with pytest.raises(SequenceError, match="MD5"):
        repetitions(text.replace("Nucleus 23Na", "Nucleus 1H"))


def test_gradients_above_the_limits_are_refused(text: str) -> None:
    """6e4 Hz/m are 5.33 mT/m of sodium, its ramp down 53.3 T/m/s: limits just above pass, just below not."""
    plain = unsigned(text)
    begin = plain.index("[TRAP]")
    spoiler = next(line for line in plain[begin:].splitlines()[1:] if line.strip())
    weak = plain.replace(spoiler, spoiler.split()[0] + " 1 230 0 230 0")
    peak, slew = 6e4 / GAMMA, 6e4 / GAMMA / 100e-6
    repetitions(weak, GradientLimits(peak * 1.001, slew * 1.001))
    with pytest.raises(GradientLimit, match="mT/m, allowed"):
        repetitions(weak, GradientLimits(peak * 0.999, slew * 1.001))
    with pytest.raises(GradientLimit, match="T/m/s, allowed"):
        repetitions(weak, GradientLimits(peak * 1.001, slew * 0.999))


def test_same_file_for_protons_is_not_the_same_gradient(text: str) -> None:
    """In Hz/m sodium needs almost four times the gradient: a limit that 1H keeps, 23Na breaks."""
    limits = GradientLimits(0.02, 1e9)
    proton = unsigned(text).replace("Nucleus 23Na", "Nucleus 1H")
    repetitions(proton, limits)
    with pytest.raises(GradientLimit):
        repetitions(text, limits)


def test_bent_readouts_are_refused(tmp_path: Path) -> None:
    """Two axes with different shapes make no straight line; the spoiler after the ADC does not count."""
    sequence = pypulseq.Sequence(SYSTEM)
    trigger = pypulseq.make_digital_output_pulse("ext1", delay=200e-6, duration=20e-6, system=SYSTEM)
    sequence.add_block(pypulseq.make_block_pulse(0.1, duration=200e-6, system=SYSTEM), trigger)
    sequence.add_block(
        pypulseq.make_trapezoid("x", amplitude=1e5, rise_time=200e-6, flat_time=1e-3, system=SYSTEM),
        pypulseq.make_trapezoid("y", amplitude=1e5, rise_time=400e-6, flat_time=1e-3, system=SYSTEM),
    )
    with pytest.raises(SequenceError, match="repetition 0: the readout leaves the straight line"):
        repetitions(written(sequence, tmp_path))


def test_transcript(client: Client, text: str, listener: Listener, world: World) -> None:
    """The example of the protocol page, played."""
    assert client.ask("*IDN?") == "coilbench,sequence-player,SIM0001,1.0.0"
    assert client.ask("SYST:B0?") == "3.0"
    assert client.ask("SYST:LIM?") == "0.04,170.0"
    assert client.ask("SEQ:COUN?") == "0"
    assert client.load(text) == NO_ERROR
    assert client.ask("SEQ:COUN?") == "3"
    assert float(client.ask("SEQ:TR?")) == pytest.approx(0.1)
    assert client.ask("OUTP?") == "0"
    assert client.order("OUTP ON") == NO_ERROR
    assert client.ask("OUTP?") == "1"
    assert world.rf_outputs["scanner"]
    assert client.order("SEQ:PLAY 0,3") == NO_ERROR
    client.wait_for("IDLE")
    assert [shot.flip_angle for shot in listener.shots] == pytest.approx([np.pi / 2] * 3, rel=1e-5)
    assert client.order("SEQ:PLAY 1,3") == '-222,"Data out of range;repetitions 1 to 3 of 3"'
    assert client.order("outp off") == NO_ERROR
    assert not world.rf_outputs["scanner"]


def test_plays_start_on_the_grid_of_repetitions(client: Client, text: str, listener: Listener) -> None:
    """Whatever is played, whenever: shots lie a whole number of repetitions apart."""
    client.load(text)
    for first, count in ((0, 2), (2, 1), (1, 2)):
        client.order(f"SEQ:PLAY {first},{count}")
        client.wait_for("IDLE")
    times = np.array([shot.time for shot in listener.shots])
    np.testing.assert_allclose(times / 0.1, [0, 1, 2, 3, 4], atol=1e-9)
    assert len({shot.index for shot in listener.shots}) == 5
    assert all(shot.flip_angle == 0.0 for shot in listener.shots)


def test_errors_are_queued_and_the_link_stays_usable(client: Client) -> None:
    """SCPI's numbers; a query that failed has no answer."""
    assert client.order("FOO:BAR") == '-113,"Undefined header;FOO:BAR"'
    assert client.order("FOO:BAR?") == '-113,"Undefined header;FOO:BAR?"'
    assert client.order("SEQ:PLAY 0,1") == '-221,"Settings conflict;no sequence is loaded"'
    assert client.order("SEQ:PLAY 0") == '-109,"Missing parameter;SEQ:PLAY"'
    assert client.order("SEQ:PLAY 0,1,2") == '-108,"Parameter not allowed;SEQ:PLAY"'
    assert client.order("SEQ:PLAY a,b") == '-104,"Data type error;a"'
    assert client.order("OUTP MAYBE") == '-104,"Data type error;MAYBE"'
    assert client.order("OUTP:WDOG 5").startswith('-222,"Data out of range')
    assert client.order("SEQ:LOAD nothing") == '-109,"Missing parameter;SEQ:LOAD needs a block"'
    assert client.load("[VERSION]\nmajor 1\n").startswith('100,"Sequence refused;')
    for _ in range(12):
        client.socket.sendall(b"FOO\n")
    codes = [client.ask("SYST:ERR?").partition(",")[0] for _ in range(11)]
    assert codes == ["-113"] * 9 + ["-350", "0"]


def test_too_strong_a_sequence_is_refused_by_the_scanner(world: World, line: TriggerLine, text: str) -> None:
    """Code 101 names gradient and limit, and nothing is loaded."""
    weak = Scanner(world, line, limits=GradientLimits(0.002, 170.0))
    with weak as scanner, TcpServer(scanner.open_link) as server, Client(server.address) as client:
        assert client.load(text).startswith('101,"Gradient limit;gradient ')
        assert client.ask("SEQ:COUN?") == "0"


def test_long_headers_and_other_clients(server: TcpServer, text: str) -> None:
    """Everybody acts on one scanner, each with an error queue of his own."""
    with Client(server.address) as first, Client(server.address) as second:
        assert first.load(text) == NO_ERROR
        assert second.ask("sequence:count?") == "3"
        second.socket.sendall(b"NONSENSE\n")
        assert first.ask("SYSTEM:ERROR?") == NO_ERROR
        assert second.ask("system:error?") == '-113,"Undefined header;NONSENSE"'


def test_amplifier_stays_on_when_its_client_goes(server: TcpServer, world: World) -> None:
    """That is why a guardian exists: it switches off over a connection of its own."""
    with Client(server.address) as owner:
        assert owner.order("OUTP ON") == NO_ERROR
    with Client(server.address) as guardian:
        assert guardian.ask("OUTP?") == "1"
        assert guardian.order("OUTP OFF") == NO_ERROR
    assert not world.rf_outputs["scanner"]


def test_watchdog_switches_the_amplifier_off(server: TcpServer, world: World) -> None:
    """With OUTP:WDOG the owner's silence is enough; every client finds it in its queue."""
    with Client(server.address) as watcher:
        with Client(server.address) as owner:
            assert owner.order("OUTP:WDOG 100") == NO_ERROR
            assert owner.ask("OUTP:WDOG?") == "100"
            assert owner.order("OUTP ON") == NO_ERROR
        until(lambda: watcher.ask("OUTP?") == "0")
        assert watcher.ask("SYST:ERR?") == '110,"RF watchdog"'
    assert not world.rf_outputs["scanner"]


def test_player_waits_for_receivers(client: Client, text: str, line: TriggerLine) -> None:
    """WAITING while a board with a client is not armed; its trigger comes when it is."""
    client.load(text)
    line.connect()
    client.order("SEQ:PLAY 0,2")
    assert client.ask("SEQ:STAT?") == "WAITING"
    assert client.order("SEQ:PLAY 0,2") == '-221,"Settings conflict;the player is WAITING"'
    listener = Listener()
    line.arm(listener)
    client.wait_for("IDLE")
    assert len(listener.shots) == 2
    line.disconnect()


def test_abort_gives_no_more_triggers(client: Client, text: str, line: TriggerLine) -> None:
    """Aborted while waiting: back to IDLE at once, no trigger; *RST forgets the sequence."""
    client.load(text)
    line.connect()
    client.order("SEQ:PLAY 0,2")
    assert client.order("SEQ:ABOR") == NO_ERROR
    client.wait_for("IDLE")
    line.disconnect()
    assert client.order("*RST") == NO_ERROR
    assert client.ask("SEQ:COUN?") == "0"


def test_playing_takes_time_on_its_scale(
    world: World, line: TriggerLine, text: str, listener: Listener
) -> None:
    """At one hundredth of real time three repetitions take 3 ms, and an abort may come between."""
    slow = Scanner(world, line, time_scale=100.0)
    with slow as scanner, TcpServer(scanner.open_link) as server, Client(server.address) as client:
        client.load(text)
        client.order("SEQ:PLAY 0,3")
        client.wait_for("PLAYING")
        assert client.order("SEQ:LOAD #10\n").startswith("-221")
        client.order("SEQ:ABOR")
        client.wait_for("IDLE")
    assert not listener.shots
    with Scanner(world, line, time_scale=0.01) as scanner:
        scanner.load(text)
        scanner.play(0, 3)
        until(lambda: scanner.state == "IDLE")
    assert len(listener.shots) == 3


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_fragmentation_gives_the_same_commands(data: st.DataObject) -> None:
    """Lines, blocks with line feeds in them, rubbish and bad blocks, cut anywhere."""
    stream = (
        b"*IDN?\r\nSEQ:LOAD #15a\nb\nc\nOUTP ON\nSEQ:LOAD #xyz\n"
        + b"X" * 1500
        + b"\nSEQ:LOAD #13abcd\nOUTP 0\n"
    )

    def taken(pieces: list[bytes]) -> list[object]:
        messages = Messages()
        found = [command for piece in pieces for command in messages.feed(piece)]
        return [(c.code, c.text) if isinstance(c, CommandError) else c for c in found]

    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole = taken([stream])
    assert taken(pieces) == whole
    assert whole[:3] == [Command("*IDN?"), Command("SEQ:LOAD", (), b"a\nb\nc"), Command("OUTP", ("ON",))]
    assert whole[-1] == Command("OUTP", ("0",))
