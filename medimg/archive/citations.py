"""How the known collections, the papers about them and the archives want to be cited: BibTeX entries."""

from __future__ import annotations

CMMD_DATA = """\
@misc{cmmd_data,
  author = {Cui, Chunyan and Li, Li and Cai, Hongmin and Fan, Zhihao and Zhang, Ling and Dan, Tingting \
and Li, Jiao and Wang, Jinghua},
  title = {The {Chinese Mammography Database} ({CMMD}): An online mammography database \
with biopsy confirmed types for machine diagnosis of breast},
  publisher = {The Cancer Imaging Archive},
  year = {2021},
  doi = {10.7937/tcia.eqde-4b16}
}"""

CMMD_PAPER = """\
@article{cmmd_paper,
  author = {Cai, Hongmin and Wang, Jinhua and Dan, Tingting and Li, Jiao and Fan, Zhihao and Yi, Weiting \
and Cui, Chunyan and others},
  title = {An Online Mammography Database with Biopsy Confirmed Types},
  journal = {Scientific Data},
  volume = {10},
  pages = {123},
  year = {2023},
  doi = {10.1038/s41597-023-02025-1}
}"""

CBIS_DDSM_DATA = """\
@misc{cbis_ddsm_data,
  author = {Sawyer-Lee, Rebecca and Gimenez, Francisco and Hoogi, Assaf and Rubin, Daniel},
  title = {Curated Breast Imaging Subset of {Digital Database for Screening Mammography} ({CBIS-DDSM})},
  publisher = {The Cancer Imaging Archive},
  year = {2016},
  doi = {10.7937/K9/TCIA.2016.7O02S9CY}
}"""

CBIS_DDSM_PAPER = """\
@article{cbis_ddsm_paper,
  author = {Lee, Rebecca Sawyer and Gimenez, Francisco and Hoogi, Assaf and Miyake, Kanae Kawai and \
Gorovoy, Mia and Rubin, Daniel L.},
  title = {A curated mammography data set for use in computer-aided detection and diagnosis research},
  journal = {Scientific Data},
  volume = {4},
  pages = {170177},
  year = {2017},
  doi = {10.1038/sdata.2017.177}
}"""

UPENN_GBM_DATA = """\
@misc{upenn_gbm_data,
  author = {Bakas, Spyridon and Sako, Chiharu and Akbari, Hamed and Bilello, Michel \
and Sotiras, Aristeidis and others},
  title = {Multi-parametric magnetic resonance imaging ({mpMRI}) scans for de novo \
Glioblastoma ({GBM}) patients
           from the {University of Pennsylvania Health System} ({UPENN-GBM})},
  publisher = {The Cancer Imaging Archive},
  year = {2021},
  doi = {10.7937/TCIA.709X-DN49}
}"""

UPENN_GBM_PAPER = """\
@article{upenn_gbm_paper,
  author = {Bakas, Spyridon and Sako, Chiharu and Akbari, Hamed and Bilello, Michel \
and Sotiras, Aristeidis and others},
  title = {The {University of Pennsylvania} glioblastoma ({UPenn-GBM}) cohort: \
advanced {MRI}, clinical, genomics, \\& radiomics},
  journal = {Scientific Data},
  volume = {9},
  pages = {453},
  year = {2022},
  doi = {10.1038/s41597-022-01560-7}
}"""

UPENN_GBM_SEGMENTATIONS = """\
@misc{bamf_aimi_annotations,
  author = {Van Oss, Jeff and Murugesan, Gowtham Krishnan and McCrumb, Diana and Soni, Rahul},
  title = {Image segmentations produced by {BAMF} under the {AIMI} Annotations initiative},
  publisher = {Zenodo},
  year = {2024},
  doi = {10.5281/zenodo.8345959}
}"""

HAM10000_DATA = """\
@misc{ham10000_data,
  author = {Tschandl, Philipp},
  title = {The {HAM10000} dataset, a large collection of multi-source dermatoscopic images \
of common pigmented skin lesions},
  publisher = {Harvard Dataverse},
  year = {2018},
  doi = {10.7910/DVN/DBW86T}
}"""

HAM10000_PAPER = """\
@article{ham10000_paper,
  author = {Tschandl, Philipp and Rosendahl, Cliff and Kittler, Harald},
  title = {The {HAM10000} dataset, a large collection of multi-source dermatoscopic images \
of common pigmented skin lesions},
  journal = {Scientific Data},
  volume = {5},
  pages = {180161},
  year = {2018},
  doi = {10.1038/sdata.2018.161}
}"""

TCIA = """\
@article{tcia,
  author = {Clark, Kenneth and Vendt, Bruce and Smith, Kirk and Freymann, John and Kirby, Justin and others},
  title = {The {Cancer Imaging Archive} ({TCIA}): Maintaining and Operating a Public Information Repository},
  journal = {Journal of Digital Imaging},
  volume = {26},
  number = {6},
  pages = {1045--1057},
  year = {2013},
  doi = {10.1007/s10278-013-9622-7}
}"""

IDC = """\
@article{idc,
  author = {Fedorov, Andrey and Longabaugh, William J. R. and Pot, David and Clunie, David A. and \
Pieper, Steven D. and others},
  title = {{National Cancer Institute Imaging Data Commons}: Toward Transparency, Reproducibility, \
and Scalability
           in Imaging Artificial Intelligence},
  journal = {RadioGraphics},
  volume = {43},
  number = {12},
  pages = {e230180},
  year = {2023},
  doi = {10.1148/rg.230180}
}"""


def cite_data(key: str, *, title: str, doi: str) -> str:
    """Makes an entry for data of which only title and DOI are known; the DOI leads to the authors."""
    return f"@misc{{{key},\n  title = {{{title}}},\n  doi = {{{doi}}}\n}}"
