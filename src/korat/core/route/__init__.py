"""Which node is reached how: routes of the Azure fabric, and the plan that makes them right."""
