// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/sessions.h"

#include <sys/stat.h>

#include "tools/gateway/zones.h"

namespace airstore::gateway {

Sessions::ZoneState Sessions::LookAtZone(MetadataReader& rows, const SessionRecord& session,
                                         InodeNo zone, const std::vector<SessionId>& live) {
  ZoneState state;
  const auto directory = rows.GetInode(session.workspace, zone);
  if (!directory || !S_ISDIR(directory->mode) || directory->parent != kRootInode) return state;
  std::set<SessionId> whole;
  bool registered = false;
  for (const InterestRecord& interest : rows.ListInterests(session.workspace)) {
    if (interest.zone == kRootInode) whole.insert(interest.session);
    if (interest.zone == kAllZones && interest.session != session.id) return state;
    registered = registered || (interest.zone == kAllZones && interest.session == session.id);
    if (interest.zone != zone) continue;
    if (interest.session == session.id) {
      registered = true;
    } else {
      state.in_the_way.push_back(interest.session);
    }
  }
  bool all_whole = true;
  for (const SessionId& id : live)
    all_whole = all_whole && (id == session.id || whole.contains(id));
  state.grantable =
      registered && all_whole && whole.contains(session.id) && state.in_the_way.empty();
  return state;
}

void Sessions::PutZones(MetadataWriter& rows, const SessionRecord& session,
                        const std::vector<InodeNo>& zones) {
  const WorkspaceKey ws = session.workspace;
  std::vector<InterestRecord> own = rows.ListInterests(ws);
  std::erase_if(own, [&](const InterestRecord& interest) {
    return interest.session != session.id || interest.zone == kRootInode;
  });
  if (!own.empty() && own.front().zone == kAllZones) return;
  if (own.size() + zones.size() <= kMostZones) {
    for (const InodeNo zone : zones) rows.PutInterest({ws, session.id, zone});
    return;
  }
  for (const InterestRecord& interest : own) rows.DeleteInterest(interest);
  rows.PutInterest({ws, session.id, kAllZones});
}

}  // namespace airstore::gateway
