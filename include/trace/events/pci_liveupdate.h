/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM pci_liveupdate

#if !defined(_TRACE_PCI_LIVEUPDATE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_PCI_LIVEUPDATE_H

#include <linux/pci.h>
#include <linux/tracepoint.h>

/* A device, or a bridge above one, got from one state to another */
TRACE_EVENT(pci_liveupdate_state,
	    TP_PROTO(const struct pci_dev *dev, const char *state),
	    TP_ARGS(dev, state),
	    TP_STRUCT__entry(__string(dev, pci_name(dev))
			     __string(state, state)),
	    TP_fast_assign(__assign_str(dev);
			   __assign_str(state);),
	    TP_printk("%s: %s", __get_str(dev), __get_str(state))
);

/* Something would have been written to a register that is to stay as it is */
TRACE_EVENT(pci_liveupdate_write_dropped,
	    TP_PROTO(const struct pci_dev *dev, int where, int size, u32 value),
	    TP_ARGS(dev, where, size, value),
	    TP_STRUCT__entry(__string(dev, pci_name(dev))
			     __field(int, where)
			     __field(int, size)
			     __field(u32, value)),
	    TP_fast_assign(__assign_str(dev);
			   __entry->where = where;
			   __entry->size = size;
			   __entry->value = value;),
	    TP_printk("%s: %#x to %d bytes at %#x", __get_str(dev), __entry->value,
		      __entry->size, __entry->where)
);

#endif /* _TRACE_PCI_LIVEUPDATE_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
