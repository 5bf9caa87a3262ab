r"""Dialogues with the simulated analyzers, byte for byte, over plain sockets and serial ports.

``>`` is what the host sends, ``<`` what the instrument answers; control characters and blanks at
the end of a line are written as escapes.
"""

from __future__ import annotations

import re
import socket

import serial

from hil_fixtures.instruments.device_under_test import AsymmetricNetwork
from hil_fixtures.instruments.nanovna_h import NanoVnaH
from hil_fixtures.instruments.rs_znbt import RsZnbt

ZNBT_RAW_SOCKET = r"""
> *IDN?\n
< Rohde-Schwarz,ZNBT8-16Port,1318700624999999,3.32\n
> *RST;*CLS\n
> INST:PORT:COUN?;:SYST:FREQ? MIN;:SYST:FREQ? MAX\n
< 16;9000;8500000000\n
> SENSe1:FREQuency:STARt 33.5 MHz; STOP 34MHZ;:SWE:POIN 3; COUN 1\n
> sens1:freq:star?;stop?;:swe:poin?\n
< 33500000;34000000;3\n
> BAND 1.1 KHZ;:SENS1:BWID?\n
< 1500\n
> :SOUR1:POW -15;POW?;:OUTP?\n
< -15;1\n
> FORM?;FORM:BORD?\n
< ASC,0;SWAP\n
> CALC1:PAR:CAT?\n
< 'Trc1,S11'\n
> :CALC1:PAR:SDEF 'a;b','S1001';SEL?;CAT?\n
< 'a;b';'Trc1,S11,a;b,S1001'\n
> CALC1:PAR:DEF:SGR 1,2;:CALC1:PAR:SEL?;CAT?\n
< 'Ch1_SG_S11';'Trc1,S11,a;b,S1001,Ch1_SG_S11,S11,Ch1_SG_S12,S12,Ch1_SG_S21,S21,Ch1_SG_S22,S22'\n
> CALC1:PAR:DEL:ALL;:CALC1:PAR:DEF:SGR?\n
< NONE\n
> CALC1:DATA:STIM?\n
< 3.35000000000000E+07,3.37500000000000E+07,3.40000000000000E+07\n
> INIT1:CONT OFF;:CALC1:PAR:SDEF 'Trc1','S11';:CALC1:DATA? SDAT\n
< 9.91000000000000E+37,9.91000000000000E+37,9.91000000000000E+37,9.91000000000000E+37,
< 9.91000000000000E+37,9.91000000000000E+37\n
> SENS1:SWE:TIME?\n
< 0.002\n
> INIT1:IMM;*OPC?\n
< 1\n
> FREQ:STRT 1\n
> BAND\n
> SOUR:POW 30\n
> CALC7:DATA? SDAT\n
> CALC1:PAR:SDEF Trc2,'S11'\n
> CALC1:PAR:SDEF 'Trc2','S171'\n
> *ESR?\n
< 48\n
> SYST:ERR?\n
< -113,"Undefined header;FREQ:STRT 1"\n
> SYST:ERR:ALL?\n
< -109,"Missing parameter;BAND",-222,"Data out of range;SOUR:POW 30",-114,
< "Header suffix out of range;CALC7:DATA? SDAT",-104,"Data type error;CALC1:PAR:SDEF Trc2,'S11'",
< -224,"Illegal parameter value;CALC1:PAR:SDEF 'Trc2','S171'"\n
> SYST:ERR?\n
< 0,"No error"\n
> SENS1:SEGM:INS 33.7MHZ,33.9MHZ,3,-10DBM,0S,0,1KHZ;:SENS1:SEGM2:ADD\n
> SENS1:SEGM2:FREQ:STAR 127 MHz;STOP 128 MHz\n
> SENS1:SEGM2:SWE:POIN 2;:SENS1:SEGM2:BWID 100;:SENS1:SWE:TYPE SEGM;:SENS1:SEGM:COUN?\n
< 2\n
> CALC1:DATA:STIM?\n
< 3.37000000000000E+07,3.38000000000000E+07,3.39000000000000E+07,1.27000000000000E+08,
< 1.28000000000000E+08\n
> SENS1:SWE:TIME?;:SENS1:SEGM:SWE:TIME:SUM?\n
< 0.002;0.023\n
> MMEM:LOAD:CORR 1,'array.cal';CORR? 1;:SENS1:SEGM:SWE:TIME:SUM?\n
< 'array.cal';0.368\n
> @LOC\n
"""

NANOVNA_SHELL = r"""
< \r\n
< NanoVNA Shell\r\n
< ch>\x20
> version\r
< version\r\n
< 1.2.52\r\n
< ch>\x20
> \r
< \r\n
< ch>\x20
> sweeep\x08\x08\x08ep\r
< sweeep\x08 \x08\x08 \x08\x08 \x08ep\r\n
< 50000 900000000 101\r\n
< ch>\x20
> sweep 127000000 128000000 21\r
< sweep 127000000 128000000 21\r\n
< ch>\x20
> sweep\r\n
< sweep\r\n
< 127000000 128000000 21\r\n
< ch>\x20
> sweep center 127500001\r
< sweep center 127500001\r\n
< ch>\x20
> sweep\r
< sweep\r\n
< 127000001 128000001 21\r\n
< ch>\x20
> scan 1000000 1000010 4 1\r
< scan 1000000 1000010 4 1\r\n
< 1000000 \r\n
< 1000003 \r\n
< 1000007 \r\n
< 1000010 \r\n
< ch>\x20
> frequencies\r
< frequencies\r\n
< 1000000\r\n
< 1000003\r\n
< 1000007\r\n
< 1000010\r\n
< ch>\x20
> scan 5 4\r
< scan 5 4\r\n
< frequency range is invalid\r\n
< ch>\x20
> scan 1000 2000 102\r
< scan 1000 2000 102\r\n
< sweep points exceeds range 101\r\n
< ch>\x20
> scan 1000\r
< scan 1000\r\n
< usage: scan {start(Hz)} {stop(Hz)} [points] [outmask]\r\n
< ch>\x20
> scan 1 2 3 4 5\r
< scan 1 2 3 4 5\r\n
< too many arguments, max 4\r\n
< scan?\r\n
< ch>\x20
> bandwidth 39\r
< bandwidth 39\r\n
< bandwidth 39 (100Hz)\r\n
< ch>\x20
> bandwidth\r
< bandwidth\r\n
< bandwidth 39 (100Hz)\r\n
< ch>\x20
> power\r
< power\r\n
< usage: power {0-3}|{255 - auto}\r\n
< power: 255\r\n
< ch>\x20
> data 7\r
< data 7\r\n
< usage: data [array]\r\n
< ch>\x20
> measure_everything now\r
< measure_everything now\r\n
< measure_everything?\r\n
< ch>\x20
> aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggghhhhhh\r
< aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg\r\n
< aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg?\r\n
< ch>\x20
> pause\r
< pause\r\n
< ch>\x20
> resume\r
< resume\r\n
< ch>\x20
"""


class UnflushedSerial(serial.Serial):
    """Keeps what arrived before it was opened, so that the greeting is seen."""

    def _reset_input_buffer(self) -> None:
        pass


def dialogue(text: str) -> list[tuple[str, bytes]]:
    steps = []
    for line in text.strip("\n").split("\n"):
        payload = re.sub(
            r"\\x[0-9a-f]{2}|\\[rn]", lambda code: code[0].encode().decode("unicode_escape"), line[2:]
        )
        steps.append((line[0], payload.encode("latin-1")))
    return steps


def test_znbt_raw_socket_transcript() -> None:
    """Headers, suffixes, strings, settings as read back, not-a-number before a sweep, all error texts."""
    with (
        RsZnbt(AsymmetricNetwork(16)) as analyzer,
        socket.create_connection(analyzer.socket_address, timeout=2) as link,
    ):
        for direction, payload in dialogue(ZNBT_RAW_SOCKET):
            if direction == ">":
                link.sendall(payload)
            else:
                received = b""
                while len(received) < len(payload) and not received.endswith(b"\n"):
                    received += link.recv(len(payload) - len(received))
                assert received == payload


def test_nanovna_shell_transcript() -> None:
    """Echo, rubbing out, prompt, raster rounding, 63 characters, and every error verbatim."""
    with NanoVnaH(AsymmetricNetwork(2)) as analyzer, UnflushedSerial() as port:
        port.port, port.timeout = analyzer.address, 2
        port.open()
        for direction, payload in dialogue(NANOVNA_SHELL):
            if direction == ">":
                port.write(payload)
            else:
                assert port.read(len(payload)) == payload
        assert port.in_waiting == 0
