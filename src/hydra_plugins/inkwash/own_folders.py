"""Folders of the user's own YAMLs, which Hydra searches after conf/."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from inkwash.config.own_folders import folders


class OwnFolders(SearchPathPlugin):
    """Adds the folders of INKWASH_CONF, whenever something is composed."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in folders():
            search_path.append("inkwash-conf", f"file://{folder}")
