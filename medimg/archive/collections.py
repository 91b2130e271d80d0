"""The published collections that `medimg fetch` knows by name: addresses, licences and citations.

Any other name is taken as the id of a collection of the Imaging Data Commons (extra `idc`); `folder` stands
for a user's own data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medimg.archive import citations, idc_index
from medimg.errors import UsageError, nearest


@dataclass(frozen=True)
class CollectionTable:
    """A table that belongs to a collection.

    Attributes:
        name: file name in the data root.
        url: configured address, used where the archive's API does not name a newer one.
        kind: what the content must be: "xlsx" or "csv".
    """

    name: str
    url: str
    kind: str


@dataclass(frozen=True)
class Collection:
    """What a collection is called in each archive, and its terms.

    Attributes:
        name: the data set's name here.
        title: for people.
        idc: collection_id in the Imaging Data Commons, empty if it is not there.
        tcia: its name in NBIA and in TCIA's collection manager, empty if it is not there.
        dataverse: persistent id in a Dataverse repository, empty if it is not there.
        licence: SPDX-like short name, as the archive writes it: "CC BY 4.0".
        licence_url: the licence's text.
        doi: of the data.
        citations: BibTeX entries: the data, the paper, the archive.
        sources: names of sources that may hold it, in order of preference.
        tables: come along with the images.
        series_list: bundled list of its series, a CSV file in this package; empty where there is none.
        patient_pattern: regular expression that finds the patient within PatientID, for collections that
            write more into it.
    """

    name: str
    title: str
    idc: str = ""
    tcia: str = ""
    dataverse: str = ""
    licence: str = ""
    licence_url: str = ""
    doi: str = ""
    citations: tuple[str, ...] = ()
    sources: tuple[str, ...] = ("idc", "nbia")
    tables: tuple[CollectionTable, ...] = ()
    series_list: str = ""
    patient_pattern: str = ""


_BY_4 = "https://creativecommons.org/licenses/by/4.0/"
_TCIA_FILES = "https://www.cancerimagingarchive.net/wp-content/uploads/"

_KNOWN = (
    Collection(
        name="cmmd",
        title="CMMD: Chinese Mammography Database",
        idc="cmmd",
        tcia="CMMD",
        licence="CC BY 4.0",
        licence_url=_BY_4,
        doi="10.7937/tcia.eqde-4b16",
        citations=(citations.CMMD_DATA, citations.CMMD_PAPER, citations.TCIA, citations.IDC),
        tables=(
            CollectionTable(
                "CMMD_clinicaldata_revision.xlsx", f"{_TCIA_FILES}CMMD_clinicaldata_revision.xlsx", "xlsx"
            ),
        ),
        series_list="cmmd_series.csv",
    ),
    Collection(
        name="cbis_ddsm",
        title="CBIS-DDSM: Curated Breast Imaging Subset of DDSM",
        idc="cbis_ddsm",
        tcia="CBIS-DDSM",
        licence="CC BY 3.0",
        licence_url="https://creativecommons.org/licenses/by/3.0/",
        doi="10.7937/K9/TCIA.2016.7O02S9CY",
        citations=(citations.CBIS_DDSM_DATA, citations.CBIS_DDSM_PAPER, citations.TCIA, citations.IDC),
        tables=tuple(
            CollectionTable(name, _TCIA_FILES + name, "csv")
            for kind in ("mass", "calc")
            for part in ("train", "test")
            for name in (f"{kind}_case_description_{part}_set.csv",)
        ),
        # PatientID names the image: "Mass-Training_P_00001_LEFT_CC_1". By it a sample would tear images,
        # crops and masks of a patient apart.
        patient_pattern=r"P_\d{5}",
    ),
    Collection(
        name="ham10000",
        title="HAM10000: dermatoscopic images of pigmented skin lesions",
        dataverse="doi:10.7910/DVN/DBW86T",
        licence="CC BY-NC 4.0",
        licence_url="https://creativecommons.org/licenses/by-nc/4.0/",
        doi="10.7910/DVN/DBW86T",
        citations=(citations.HAM10000_DATA, citations.HAM10000_PAPER),
        sources=("dataverse",),
    ),
    Collection(
        name="upenn_gbm",
        title="UPENN-GBM: brain MRI of de novo glioblastoma",
        idc="upenn_gbm",
        tcia="UPENN-GBM",
        licence="CC BY 4.0",
        licence_url=_BY_4,
        doi="10.7937/TCIA.709X-DN49",
        citations=(
            citations.UPENN_GBM_DATA,
            citations.UPENN_GBM_PAPER,
            citations.UPENN_GBM_SEGMENTATIONS,
            citations.TCIA,
            citations.IDC,
        ),
        tables=(
            CollectionTable(
                "UPENN-GBM_clinical_info_v2.1.csv", f"{_TCIA_FILES}UPENN-GBM_clinical_info_v2.1.csv", "csv"
            ),
        ),
    ),
    Collection(name="folder", title="your own data, from a PACS or a folder", sources=("dicomweb", "folder")),
)

COLLECTIONS: Mapping[str, Collection] = {collection.name: collection for collection in _KNOWN}
"""By name."""


def find_collection(name: str) -> Collection:
    """Finds a collection by name: a known one, or the id of any in the installed index of the IDC.

    Raises:
        UsageError: there is none; the message names the nearest, or says how to install the index.
    """
    if name in COLLECTIONS:
        return COLLECTIONS[name]
    if not idc_index.is_installed():
        hint = (
            "other collections of the Imaging Data Commons need its index, "
            "the extra `idc` (pip install 'medimg-tfx[idc]', in a checkout setup/install.sh core idc)"
        )
        raise UsageError(f"unknown data set {name!r}: {nearest(_fold(name), COLLECTIONS)}; {hint}")
    ids = idc_index.list_collections()
    if name not in ids:
        raise UsageError(f"unknown data set {name!r}: {_near(name, ids)}")
    terms = idc_index.read_terms(name)
    return Collection(
        name=name,
        title=terms.title,
        idc=name,
        tcia=terms.name,
        licence=terms.licence,
        licence_url=terms.licence_url,
        doi=terms.doi,
        citations=(citations.cite_data(name, title=terms.title, doi=terms.doi), citations.IDC),
    )


def _near(name: str, ids: list[str]) -> str:
    hint = nearest(_fold(name), {*ids, *COLLECTIONS})
    return (
        hint
        if hint.startswith("did you mean")
        else f"known: {', '.join(COLLECTIONS)} and the {len(ids)} ids of the Imaging Data Commons"
    )


def _fold(name: str) -> str:
    return name.lower().replace("-", "_")
