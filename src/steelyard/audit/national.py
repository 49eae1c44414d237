"""Numbers that carry their own proof: cards, bank accounts, and what states give to persons.

Each function says whether a text of the right shape is a valid number, by its check digits.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass


def digits(text: str) -> list[int]:
    """The digits of a text.

    >>> digits("4-2")
    [4, 2]
    """
    return [int(sign) for sign in text if sign.isdecimal()]


def luhn(text: str) -> bool:
    """Whether the last digit is right. Source: ISO/IEC 7812-1, annex B.

    >>> luhn("4539 1488 0343 6467"), luhn("4539 1488 0343 6468")
    (True, False)
    """
    total = 0
    for place, digit in enumerate(reversed(digits(text))):
        doubled = 2 * digit if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def card(text: str) -> bool:
    """A payment card: 13 to 19 digits, the first 2 to 6, and Luhn. Source: ISO/IEC 7812-1."""
    found = digits(text)
    return 13 <= len(found) <= 19 and 2 <= found[0] <= 6 and len(set(found)) > 1 and luhn(text)


# Length → countries. Source: SWIFT, IBAN Registry (ISO 13616).
_IBAN_COUNTRIES = {
    15: "NO",
    16: "BE",
    18: "DK FI FO GL NL",
    19: "MK SI",
    20: "AT BA EE KZ LT LU XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS",
    23: "AE GI IL IQ TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "PT ST",
    26: "IS TR",
    27: "FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HU LB PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU",
    31: "MT SC",
    32: "LC",
}
IBAN_LENGTHS = {
    country: length for length, names in _IBAN_COUNTRIES.items() for country in names.split()
}


def iban(text: str) -> bool:
    """A bank account: its country's length, and 1 modulo 97. Source: ISO 13616, ISO 7064.

    >>> iban("GB82 WEST 1234 5698 7654 32"), iban("GB82 WEST 1234 5698 7654 33")
    (True, False)
    """
    packed = text.replace(" ", "").upper()
    if IBAN_LENGTHS.get(packed[:2]) != len(packed):
        return False
    return int("".join(str(int(sign, 36)) for sign in packed[4:] + packed[:4])) % 97 == 1


def us_ssn(text: str) -> bool:
    """No check digit, but areas, groups and serials that were never given out.

    Source: Social Security Administration, POMS RM 10201.035.
    """
    area, group, serial = text[:3], text[-7:-5], text[-4:]
    return area not in ("000", "666") and area[0] != "9" and group != "00" and serial != "0000"


def gb_nhs(text: str) -> bool:
    """Modulo 11. Source: NHS Data Dictionary, NHS number.

    >>> gb_nhs("943 476 5919")
    True
    """
    found = digits(text)
    return (
        len(found) == 10
        and sum(w * d for w, d in zip(range(10, 0, -1), found, strict=True)) % 11 == 0
    )


def gb_nino(text: str) -> bool:
    """No check digit, but prefixes that are not used. Source: HMRC, NIM39110."""
    prefix = text.replace(" ", "").upper()[:2]
    unused = ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ")
    return prefix not in unused and not set(prefix) & set("DFIQUV") and prefix[1] != "O"


def es_dni(text: str) -> bool:
    """The letter is the number modulo 23. Source: Real Decreto 1553/2005; NIE alike.

    >>> es_dni("12345678Z"), es_dni("X1234567L"), es_dni("12345678A")
    (True, True, False)
    """
    packed = re.sub(r"[^0-9A-Z]", "", text.upper())
    number = packed[:-1].translate(str.maketrans("XYZ", "012"))
    return number.isdecimal() and packed[-1] == "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23]


_ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (
            *(1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17),
            *(19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23),
        ),
        strict=True,
    )
)


def it_codice_fiscale(text: str) -> bool:
    """The last letter sums the others. Source: Decreto Ministeriale 23 December 1976.

    >>> it_codice_fiscale("RSSMRA85T10A562S"), it_codice_fiscale("RSSMRA85T10A562T")
    (True, False)
    """
    signs = text.upper()
    even = sum(int(s) if s.isdecimal() else ord(s) - ord("A") for s in signs[1:15:2])
    return (sum(_ODD[s] for s in signs[0:15:2]) + even) % 26 == ord(signs[15]) - ord("A")


def fr_nir(text: str) -> bool:
    """The last two digits are 97 less the rest modulo 97. Source: INSEE, numéro NIR.

    >>> fr_nir("2 55 08 14 168 025 38")
    True
    """
    packed = text.replace(" ", "").upper().replace("2A", "19").replace("2B", "18")
    if len(packed) != 15 or not packed.isdecimal():
        return False
    return int(packed[13:]) == 97 - int(packed[:13]) % 97


def de_steuer_id(text: str) -> bool:
    """ISO 7064, MOD 11,10. Source: Bundeszentralamt für Steuern, Prüfziffernberechnung.

    >>> de_steuer_id("86 095 742 719")
    True
    """
    found = digits(text)
    product = 10
    for digit in found[:-1]:
        product = ((digit + product) % 10 or 10) * 2 % 11
    return len(found) == 11 and found[0] != 0 and (11 - product) % 10 == found[-1]


def pl_pesel(text: str) -> bool:
    """Weights 1, 3, 7, 9. Source: Ustawa o ewidencji ludności, 24 September 2010.

    >>> pl_pesel("44051401359")
    True
    """
    found = digits(text)
    weights = (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)
    return len(found) == 11 and sum(w * d for w, d in zip(weights, found, strict=True)) % 10 == 0


def br_cpf(text: str) -> bool:
    """Two check digits modulo 11. Source: Receita Federal, Instrução Normativa 1548/2015.

    >>> br_cpf("529.982.247-25")
    True
    """
    found = digits(text)
    if len(found) != 11 or len(set(found)) == 1:
        return False
    for size in (9, 10):
        total = sum(d * (size + 1 - place) for place, d in enumerate(found[:size]))
        if total * 10 % 11 % 10 != found[size]:
            return False
    return True


def se_personnummer(text: str) -> bool:
    """Ten digits by Luhn. Source: Skatteverket, SKV 704.

    >>> se_personnummer("811218-9876")
    True
    """
    found = digits(text)[-10:]
    return 1 <= found[2] * 10 + found[3] <= 12 and luhn("".join(map(str, found)))


@dataclass(frozen=True, slots=True)
class National:
    """A number of persons: its shape, its proof, and a word that must stand near a bare one."""

    shape: str
    is_valid: Callable[[str], bool]
    near: str | None = None


NATIONAL: dict[str, National] = {
    "us_ssn": National(r"\d{3}-\d{2}-\d{4}", us_ssn),
    "it_codice_fiscale": National(
        r"[A-Za-z]{6}\d{2}[ABCDEHLMPRSTabcdehlmprst]\d{2}[A-Za-z]\d{3}[A-Za-z]", it_codice_fiscale
    ),
    "fr_nir": National(
        r"[12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d{2}|2[ABab]) ?\d{3} ?\d{3} ?\d{2}", fr_nir
    ),
    "es_dni": National(r"(?:\d{8}|[XYZxyz]-?\d{7})-?[A-Za-z]", es_dni),
    "br_cpf": National(r"\d{3}\.\d{3}\.\d{3}-\d{2}", br_cpf),
    "gb_nino": National(r"[A-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D]", gb_nino),
    "se_personnummer": National(r"(?:19|20)?\d{6}[-+]\d{4}", se_personnummer),
    "gb_nhs": National(r"\d{3}[ -]?\d{3}[ -]?\d{4}", gb_nhs, near=r"nhs"),
    "de_steuer_id": National(
        r"\d{2} ?\d{3} ?\d{3} ?\d{3}", de_steuer_id, near=r"steuer|\btin\b|identifikationsnummer"
    ),
    "pl_pesel": National(r"\d{11}", pl_pesel, near=r"pesel"),
}
