"""Circuits of coils: elements, the reduced solver of coupled arrays with its sensitivities, designs."""
