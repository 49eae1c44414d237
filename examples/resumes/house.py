"""The house conventions of the resumes example: what the rows show and no prompt says."""

from __future__ import annotations

from typing import NamedTuple

THIS_YEAR = 2025  # "2018 to present" is counted up to here, so the data never goes stale


class Trade(NamedTuple):
    """One line of work: its titles, its employers' names, its skills and how people write them."""

    titles: tuple[str, ...]
    firms: tuple[str, ...]
    skills: dict[str, tuple[str, ...]]


TRADES = (
    Trade(
        ("Backend Developer", "Data Engineer", "Senior Developer", "Lead Tester", "Web Developer"),
        ("Software", "Digital", "Systems"),
        {
            "PostgreSQL": ("postgres", "Postgres DB", "postgresql"),
            "Kubernetes": ("k8s", "kube", "kubernetes"),
            "JavaScript": ("JS", "java script", "javascript"),
            "CI/CD": ("build pipelines", "ci-cd", "continuous delivery"),
            "AWS": ("Amazon cloud", "aws", "Amazon Web Services"),
            "Terraform": ("TF modules", "terraform"),
        },
    ),
    Trade(
        ("Staff Nurse", "Senior Nurse", "Ward Sister", "Charge Nurse", "Clinic Nurse"),
        ("Hospital", "Clinic", "Care Home"),
        {
            "IV Therapy": ("drips", "intravenous lines", "iv therapy"),
            "Phlebotomy": ("taking blood", "blood draws", "phlebotomy"),
            "Wound Care": ("dressings", "wound dressing", "wound care"),
            "EHR": ("electronic records", "e-records", "ehr"),
            "ALS": ("advanced life support", "als"),
            "Triage": ("patient sorting", "triage"),
        },
    ),
    Trade(
        ("Accounts Assistant", "Senior Accountant", "Payroll Clerk", "Head Bookkeeper", "Auditor"),
        ("Accounting", "Finance", "Advisers"),
        {
            "Excel": ("MS Excel", "spreadsheets", "excel"),
            "VAT": ("sales tax", "vat returns", "VAT filing"),
            "Payroll": ("pay runs", "wages", "payroll"),
            "SAP": ("SAP ERP", "sap"),
            "Bookkeeping": ("book-keeping", "ledgers", "bookkeeping"),
            "Forecasting": ("cash forecasts", "budget forecasts", "forecasting"),
        },
    ),
    Trade(
        ("Commis Chef", "Head Chef", "Sous Chef", "Pastry Chef", "Kitchen Porter"),
        ("Kitchen", "Bistro", "Catering"),
        {
            "Food Safety": ("food hygiene", "HACCP", "food safety"),
            "Menu Design": ("menu planning", "writing menus", "menu design"),
            "Stock Control": ("stocktaking", "inventory", "stock control"),
            "Pastry": ("patisserie", "pastry work", "pastry"),
            "Butchery": ("meat cutting", "butchery"),
            "Grill": ("grill station", "grilling", "grill"),
        },
    ),
    Trade(
        ("Warehouse Operative", "Dispatch Clerk", "Lead Picker", "Senior Driver", "Stock Planner"),
        ("Logistics", "Freight", "Storage"),
        {
            "Forklift": ("fork lift", "FLT licence", "forklift"),
            "Route Planning": ("routing", "planning routes", "route planning"),
            "WMS": ("warehouse software", "wms"),
            "Order Picking": ("pick and pack", "picking", "order picking"),
            "Customs": ("customs papers", "import forms", "customs"),
            "Dispatch": ("despatch", "sending goods", "dispatch"),
        },
    ),
    Trade(
        ("Sales Assistant", "Account Manager", "Senior Buyer", "Store Lead", "Sales Agent"),
        ("Stores", "Trading", "Supplies"),
        {
            "CRM": ("customer database", "crm tools", "crm"),
            "B2B Sales": ("business sales", "b2b", "trade sales"),
            "Negotiation": ("negotiating", "closing deals", "negotiation"),
            "Merchandising": ("shop displays", "visual displays", "merchandising"),
            "EPOS": ("tills", "till work", "epos"),
            "Cold Calling": ("phone prospecting", "cold calls", "cold calling"),
        },
    ),
)

# Numbers that nobody has. Sources: Ofcom, "Telephone numbers for use in TV and radio drama
# programmes" (the first seven); NANPA, 555-0100 to 555-0199 of every area code (the rest).
UK_PREFIXES = ("20 7946 0", "113 496 0", "121 496 0", "131 496 0", "141 496 0", "161 496 0")
UK_MOBILE_PREFIX = "7700 900"
US_AREA_CODES = ("202", "212", "303", "312", "415", "503", "617", "713")


def seniority(years: int, *, manages: bool) -> str:
    """The house code: M for those who manage others, else S; 1 up to seven years, 2 from eight.

    The title plays no part in it: a "Senior Nurse" of three years who manages nobody is an S1.

    >>> seniority(7, manages=False), seniority(8, manages=False), seniority(8, manages=True)
    ('S1', 'S2', 'M2')
    """
    return f"{'M' if manages else 'S'}{2 if years >= 8 else 1}"
