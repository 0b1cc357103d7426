"""What Alembic runs around the steps: it hands them the connection that the caller opened."""

from alembic import context

from trunkline.store.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    # True on SQLite as well, since the caller began the transaction itself.
    transactional_ddl=True,
    # SQLite can change few things about a table in place; batches copy it instead.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
