#!/usr/bin/env python3
"""Write the description of the service (OpenAPI), which the types of the page's client are made from."""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrion.web.app import create_app
from orchestrion.web.places import Places
from orchestrion.web.studio import Studio

with TemporaryDirectory() as library:
    studio = Studio(Places(Path(library)), "mini")
    described = create_app(studio).openapi()
    studio.close()
Path(sys.argv[1]).write_text(json.dumps(described, indent=1, sort_keys=True) + "\n")
