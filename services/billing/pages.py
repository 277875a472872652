"""Pages of what organisations keep."""

from sqlalchemy import ColumnElement, RowMapping, Table, and_, or_, select

from services.billing import fields
from services.common.database import Database, fetch_all


async def newest_first(
    database: Database,
    table: Table,
    identity: ColumnElement[str],
    org_id: int,
    token: str,
    size: int,
) -> list[RowMapping]:
    """An organisation's rows after the one that `token` names by `created_ms` and `identity`.

    Raises InvalidRequest for a token that names none.
    """
    created = table.c.created_ms
    query = select(table).where(table.c.org_id == org_id)
    if (position := fields.page_position(token, 2)) is not None:
        moment, last = fields.page_number(fields.page_token(position[0])), position[1]
        query = query.where(or_(created < moment, and_(created == moment, identity < last)))
    query = query.order_by(created.desc(), identity.desc()).limit(size)
    async with database.read() as connection:
        return await fetch_all(connection, query)
