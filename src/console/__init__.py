"""The console: pages of the admin port for people who would rather look. A process of its own renders them
(`serve`), a child of the control plane, which lets nobody in who has not logged in (cli/console.py)."""
