"""DICOM files: read, checked, decoded and shown. What pydicom says of a file stays unsaid: it quotes values.

What matters of it is refused by name in medimg.dicom.read. Imports nothing: a child process sets its memory
limit first.
"""

import logging
import warnings

# A filter, for pydicom sets its level itself once it is imported.
logging.getLogger("pydicom").addFilter(lambda record: False)
warnings.filterwarnings("ignore", module="pydicom")
