"""Names that the panels of a W&B workspace refer to."""


def shown_by(view):
    """Return {history, summary, config, media: names} of a workspace's JSON."""
    found = {"history": set(), "summary": set(), "config": set(), "media": set()}

    def refer(text):
        for prefix, kind in (("summary_metrics.", "summary"), ("summary:", "summary"), ("config:", "config")):
            if text.startswith(prefix):
                name = text.removeprefix(prefix)
                # W&B keeps the value of a top-level key a level deeper.
                return found[kind].add(name.replace(".value", "", 1) if kind == "config" else name)
        return found["history"].add(text)

    for section in view["spec"]["section"]["panelBankConfig"]["sections"]:
        for panel in section["panels"]:
            config = panel["config"]
            found["media"].update(config.get("mediaKeys", []))
            for name in config.get("metrics", []):
                refer(name)
            for column in config.get("columns", []):
                refer(column["accessor"])
            if "targetKey" in config:
                found["summary"].add(config["targetKey"])
            for axis in ("xAxis", "yAxis"):
                if config.get(axis):
                    refer(config[axis])
            if "panel2Config" in config:
                found["media"].add(config["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"])
    for column in view["spec"]["section"]["runSets"][0]["runFeed"]["columnOrder"]:
        if not column.startswith("run:"):
            refer(column)
    for key in view["spec"]["section"]["runSets"][0]["sort"]["keys"]:
        assert key["key"]["section"] == "summary"
        found["summary"].add(key["key"]["name"])
    found["history"].discard("trainer/global_step")
    return found
