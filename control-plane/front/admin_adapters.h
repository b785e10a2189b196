/* admin_adapters.h - the Admin service's part about LoRA adapters.
 *
 *   request ─▶ router ─▶ the engine loads or unloads ─▶ deployer ─▶ etcd ─▶ answer
 *
 * What the engine did is remembered even if the client has gone meanwhile.
 * Threads: the polling thread.
 */
#ifndef PX_CONTROL_ADMIN_ADAPTERS_H
#define PX_CONTROL_ADMIN_ADAPTERS_H

#include "control/front/admin.h"

/* For px_rpc_server_add(server, px_admin_adapter_methods, admin). */
extern const px_rpc_method px_admin_adapter_methods[];

/* Parts of the functions in admin.h. */
void px_admin_adapters_changed(px_admin *admin, const px_deployment *deployment);
void px_admin_adapters_end(px_admin *admin, px_status why);

#endif
