"""DICOM files: read, checked, decoded and shown. What pydicom says of a file stays unsaid: it quotes values.

What matters of it is refused by name in medimg.dicom.read. Imports nothing: a child process sets its memory
limit first.
"""

import logging
import warnings

logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
warnings.filterwarnings("ignore", module="pydicom")
