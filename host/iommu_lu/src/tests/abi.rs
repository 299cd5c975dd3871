// SPDX-License-Identifier: GPL-2.0

//! What is claimed of the bytes that are handed over.

use crate::{
    arrays::RawArray,
    entries::{
        Features,
        Format,
        Kind,
        RawDevMapSer,
        RawDeviceIntelSer,
        RawDeviceSer,
        RawDomainSer,
        RawFlbSer,
        RawHdrSer,
        RawHwSer,
        RawIntelSer,
        UnitRecord,
        VERSION, //
    },
};
use kernel::prelude::*;
use testing::{
    golden,
    layout::{
        assert_names_all_structs,
        Constant,
        Contract,
        Field,
        Struct, //
    }, //
};

const NAME: &str = "iommu-rs";

/// The beginning of a page, of which the view has the objects as well.
fn header_of_a_page() -> Struct {
    Struct {
        name: "iommu_array_hdr_ser",
        view: "RawArray",
        size: 16,
        fields: vec![
            Field::new("next_array_phys", 0, |view: &RawArray| {
                &raw const view.next_array_phys
            }),
            Field::new("nr_objects", 8, |view: &RawArray| {
                &raw const view.nr_objects
            }),
        ],
    }
}

fn iommus() -> Contract {
    let number = |number: u32| Constant::Number(number.into());

    Contract {
        header: "iommu",
        name: format!("{NAME}-v{VERSION}"),
        constants: vec![
            ("IOMMU_LUO_FLB_COMPATIBLE", Constant::Text(NAME)),
            ("IOMMU_LUO_FLB_VERSION", number(VERSION)),
            ("IOMMU_SER_INTEL", Constant::Number(Kind::Intel as u64)),
            ("IOMMU_DOMAIN_SER_VTDSS", number(Format::SecondStage as u32)),
            ("IOMMU_DOMAIN_SER_X86_64", number(Format::FirstStage as u32)),
            ("IOMMU_DOMAIN_SER_INCOHERENT", number(Features::INCOHERENT)),
            (
                "IOMMU_DOMAIN_SER_FORCE_COHERENCE",
                number(Features::FORCE_COHERENCE),
            ),
            (
                "IOMMU_DOMAIN_SER_NEST_PARENT",
                number(Features::NEST_PARENT),
            ),
            (
                "IOMMU_DOMAIN_SER_DIRTY_TRACKING",
                number(Features::DIRTY_TRACKING),
            ),
            ("IOMMU_INTEL_SER_SCALABLE", number(UnitRecord::SCALABLE)),
        ],
        structs: vec![
            testing::layout!(RawFlbSer as iommu_flb_ser {
                version,
                reserved,
                iommu_array_phys,
                iommu_domain_array_phys,
                device_array_phys
            }),
            header_of_a_page(),
            testing::layout!(RawHdrSer as iommu_hdr_ser { ref_count, flags }),
            testing::layout!(RawDomainSer as iommu_domain_ser {
                hdr,
                top_table_phys,
                nr_tables,
                format,
                features,
                top_level,
                vasz
            }),
            testing::layout!(RawDevMapSer as iommu_dev_map_ser {
                attachment_id,
                domain_phys,
                iommu_phys
            }),
            testing::layout!(RawDeviceIntelSer as iommu_device_intel_ser { pasid_table, max_pasid }),
            testing::layout!(RawDeviceSer as iommu_device_ser {
                hdr,
                devid,
                pci_domain_nr,
                map,
                dma_owner_token,
                intel
            }),
            testing::layout!(RawIntelSer as iommu_intel_ser {
                root_table,
                irq_table,
                cap,
                ecap,
                flags,
                irq_order,
                context_tables_bitmap
            }),
            testing::layout!(RawHwSer as iommu_hw_ser { hdr, token, type_, intel }),
        ],
    }
}

#[test]
fn has_the_committed_layout() {
    iommus().assert_is_committed();
}

#[test]
fn has_the_layout_that_c_sees() {
    iommus().assert_is_that_of_c();
    assert_names_all_structs("iommu", &[iommus()]);
}

/// What a blob means: one object of each type.
struct Meaning {
    iommu: RawHwSer,
    domain: RawDomainSer,
    device: RawDeviceSer,
}

#[test]
fn reads_and_writes_what_was_ever_handed_over() {
    let hdr = |ref_count| RawHdrSer {
        ref_count,
        flags: 0,
    };
    let known = [
        (
            "igb-in-scalable-mode",
            Meaning {
                iommu: RawHwSer {
                    hdr: hdr(1),
                    token: 0xfed9_0000,
                    type_: 1,
                    intel: RawIntelSer {
                        root_table: 0x1_009a_2000,
                        irq_table: 0x1_0020_0000,
                        cap: 0x80d2_008c_222f_0606,
                        ecap: 0x0048_0080_f00f_4a00,
                        flags: 1,
                        irq_order: 8,
                        context_tables_bitmap: [5, 0, 0, 0, 0, 0, 0, 0],
                    },
                },
                domain: RawDomainSer {
                    hdr: hdr(2),
                    top_table_phys: 0x1_0234_5000,
                    nr_tables: 13,
                    format: 1,
                    features: 3,
                    top_level: 3,
                    vasz: 48,
                },
                device: RawDeviceSer {
                    hdr: hdr(1),
                    devid: 0x0100,
                    pci_domain_nr: 0,
                    map: RawDevMapSer {
                        attachment_id: 7,
                        domain_phys: 0x1_0456_7010,
                        iommu_phys: 0x1_0789_a010,
                    },
                    dma_owner_token: 0x0102_0304_0506_0708,
                    intel: RawDeviceIntelSer {
                        pasid_table: 0x1_0bcd_e000,
                        max_pasid: 1 << 15,
                    },
                },
            },
        ),
        (
            "no-two-bytes-alike",
            Meaning {
                iommu: RawHwSer {
                    hdr: RawHdrSer {
                        ref_count: 0x0302_0100,
                        flags: 0x0706_0504,
                    },
                    token: 0x0f0e_0d0c_0b0a_0908,
                    type_: 0x1716_1514_1312_1110,
                    intel: RawIntelSer {
                        root_table: 0x1f1e_1d1c_1b1a_1918,
                        irq_table: 0x2726_2524_2322_2120,
                        cap: 0x2f2e_2d2c_2b2a_2928,
                        ecap: 0x3736_3534_3332_3130,
                        flags: 0x3b3a_3938,
                        irq_order: 0x3f3e_3d3c,
                        context_tables_bitmap: [
                            0x4746_4544_4342_4140,
                            0x4f4e_4d4c_4b4a_4948,
                            0x5756_5554_5352_5150,
                            0x5f5e_5d5c_5b5a_5958,
                            0x6766_6564_6362_6160,
                            0x6f6e_6d6c_6b6a_6968,
                            0x7776_7574_7372_7170,
                            0x7f7e_7d7c_7b7a_7978,
                        ],
                    },
                },
                domain: RawDomainSer {
                    hdr: RawHdrSer {
                        ref_count: 0x8382_8180,
                        flags: 0x8786_8584,
                    },
                    top_table_phys: 0x8f8e_8d8c_8b8a_8988,
                    nr_tables: 0x9796_9594_9392_9190,
                    format: 0x9b9a_9998,
                    features: 0x9f9e_9d9c,
                    top_level: 0xa3a2_a1a0,
                    vasz: 0xa7a6_a5a4,
                },
                device: RawDeviceSer {
                    hdr: RawHdrSer {
                        ref_count: 0xabaa_a9a8,
                        flags: 0xafae_adac,
                    },
                    devid: 0xb3b2_b1b0,
                    pci_domain_nr: 0xb7b6_b5b4,
                    map: RawDevMapSer {
                        attachment_id: 0xbfbe_bdbc_bbba_b9b8,
                        domain_phys: 0xc7c6_c5c4_c3c2_c1c0,
                        iommu_phys: 0xcfce_cdcc_cbca_c9c8,
                    },
                    dma_owner_token: 0xd7d6_d5d4_d3d2_d1d0,
                    intel: RawDeviceIntelSer {
                        pasid_table: 0xdfde_dddc_dbda_d9d8,
                        max_pasid: 0xe7e6_e5e4_e3e2_e1e0,
                    },
                },
            },
        ),
    ];

    golden::check(
        "iommu-rs-v1",
        &known,
        |bytes,
         Meaning {
             iommu,
             domain,
             device,
         }| {
            let (read, rest) = RawHwSer::read_from_prefix(bytes).unwrap();
            assert_eq!(read, *iommu);
            let (read, rest) = RawDomainSer::read_from_prefix(rest).unwrap();
            assert_eq!(read, *domain);
            assert_eq!(RawDeviceSer::read_from_bytes(rest).unwrap(), *device);

            let written = [iommu.as_bytes(), domain.as_bytes(), device.as_bytes()];
            assert_eq!(written.concat(), bytes);
        },
    );
}
